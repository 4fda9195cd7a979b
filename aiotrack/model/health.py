"""How a client is, for a readiness probe: a verdict, and its reasons."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import attrs

__all__ = ["Health", "HealthStatus"]


class HealthStatus(StrEnum):
    """How a client, or one of its lanes, is."""

    OK = "ok"
    """Events are accepted and delivered."""
    DEGRADED = "degraded"
    """Events are accepted, and somewhere they are not delivered or not stored now."""
    FAILING = "failing"
    """No event is accepted."""


@attrs.frozen
class Health:
    """What `client.health()` returns. Truthy unless it is failing: a vendor's outage is no reason to stop a service.

    `attrs.asdict(health)` has what a probe's JSON needs.
    """

    status: HealthStatus
    reasons: tuple[str, ...] = ()
    """Whole sentences for an operator, without secrets, payloads or users; empty when all is well."""

    def __bool__(self) -> bool:
        return self.status is not HealthStatus.FAILING

    @classmethod
    def of_all(cls, lanes: Iterable[Health]) -> Health:
        """Return how a client with these lanes is: it fails where every lane does."""
        listed = tuple(lanes)
        statuses = {lane.status for lane in listed}
        status = statuses.pop() if len(statuses) == 1 else HealthStatus.DEGRADED
        return cls(status, tuple(reason for lane in listed for reason in lane.reasons))
