"""The datafile: what tracking needs of it, checked when it arrives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import orjson

from aiotrack.errors import DocumentError
from aiotrack.extension import CHECKED, Checked, json_object, shown, structure

__all__ = ["Datafile", "batch_header"]

VERSIONS = ("2", "3", "4")
CLIENT_NAME, CLIENT_VERSION = "aiotrack", "0.1.0"


@attrs.frozen
class _EventType:
    id: str
    key: str
    experimentIds: Checked[str]  # noqa: N815 - the document's own names


@attrs.frozen
class _Attribute:
    id: str
    key: str


@attrs.frozen
class _Allocation:
    entityId: str  # noqa: N815
    endOfRange: int  # noqa: N815


@attrs.frozen
class _Variation:
    id: str
    key: str


@attrs.frozen
class _Experiment:
    id: str
    layerId: str  # noqa: N815
    key: str
    status: str
    variations: Checked[_Variation]
    trafficAllocation: Checked[_Allocation]  # noqa: N815
    audienceIds: Checked[str]  # noqa: N815
    forcedVariations: dict[str, Any]  # noqa: N815


@attrs.frozen
class _Group:
    id: str
    policy: str
    trafficAllocation: Checked[_Allocation]  # noqa: N815
    experiments: Checked[_Experiment]


@attrs.frozen
class _Audience:
    id: str
    name: str
    conditions: str


@attrs.frozen
class _Integration:
    key: str
    host: str = ""
    publicKey: str = ""  # noqa: N815


@attrs.frozen
class _Document:
    """The vendor's schema: what tracking reads, and what makes a datafile one that decisions can use."""

    version: str
    accountId: str  # noqa: N815
    projectId: str  # noqa: N815
    revision: str
    events: tuple[_EventType, ...]
    attributes: tuple[_Attribute, ...]
    groups: Checked[_Group]
    experiments: Checked[_Experiment]
    audiences: Checked[_Audience]
    integrations: Checked[_Integration] = CHECKED
    anonymizeIP: Any = False  # noqa: N815
    botFiltering: Any = None  # noqa: N815
    region: Any = None


@attrs.frozen
class Datafile:
    """What tracking needs of one revision.

    `project` names it and its account. `events` and `attributes` map keys to ids; of two entries with one key the last
    counts. `bot_filtering` is None where the datafile has no bool for it. `batch_header` is what the events of this
    revision have in common: the region, and the head of the request's body.
    """

    revision: str
    project: str
    events: Mapping[str, str] = attrs.field(repr=False)
    attributes: Mapping[str, str] = attrs.field(repr=False)
    bot_filtering: bool | None
    batch_header: bytes = attrs.field(repr=False)

    @classmethod
    def parse(cls, source: bytes | str | Mapping[str, Any]) -> Datafile:
        """Read a datafile, JSON text or parsed. Raises DocumentError with the path of what is wrong."""
        own = not isinstance(source, Mapping)
        document = structure(json_object(source, "the datafile is"), _Document, consume=own)
        if document.version not in VERSIONS:
            raise DocumentError(f'version: expected "2", "3" or "4", got {shown("", document.version)}')
        return cls(
            revision=document.revision,
            project=f"account {document.accountId}, project {document.projectId}",
            events={event.key: event.id for event in document.events},
            attributes={attribute.key: attribute.id for attribute in document.attributes},
            bot_filtering=document.botFiltering if isinstance(document.botFiltering, bool) else None,
            batch_header=batch_header(
                document.accountId, document.projectId, document.revision, document.anonymizeIP, document.region
            ),
        )


def batch_header(account_id: str, project_id: str, revision: str, anonymize_ip: object, region: object) -> bytes:
    """Return `[region, head]` as JSON: what decides the endpoint, and the body up to its visitors.

    The order of the keys is that of the vendor's SDK; an unknown region means the US there, too.
    """
    head = {
        "account_id": account_id,
        "project_id": project_id,
        "revision": revision,
        "client_name": CLIENT_NAME,
        "client_version": CLIENT_VERSION,
        "anonymize_ip": anonymize_ip,
        "enrich_decisions": True,
    }
    return orjson.dumps(["EU" if str(region or "US").upper() == "EU" else "US", head])
