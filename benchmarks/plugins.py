"""What each plugin that ships with aiotrack costs an event, and what listeners cost: with nothing sent meanwhile."""

from __future__ import annotations

from collections.abc import Callable

import aiotrack
from aiotrack_log import EventLog
from aiotrack_privacy import Privacy
from aiotrack_schema import Event, Schema

from .per_call import CALLS, case, floor
from .rounds import Column, Figures, Results, Section, in_turn
from .work import Enricher, Listener

KEY = "a key of sixteen bytes or more"
PLAN = {
    "events": {
        "purchase": {
            "additionalProperties": False,
            "properties": {
                "revenue": {"type": "integer", "minimum": 0, "required": True},
                "category": {"type": "string", "required": True},
            },
        }
    }
}


class Purchase(Event):
    revenue: int
    category: str


async def typed(user: aiotrack.UserContext) -> None:
    for _ in range(CALLS):
        await Purchase(revenue=4200, category="shoes").track(user)


async def agrees(event: aiotrack.Event) -> bool:
    return True


ADDRESS = {"ip_address": "203.0.113.77"}
CASES: dict[str, Callable[[], Figures]] = {
    "floor: dict, orjson, append": floor,
    "built-ins alone": case(),
    "a listener": case(Listener),
    "ten listeners": case(*[Listener] * 10),
    "an async hook": case(Enricher),
    "aiotrack-schema": case(lambda: Schema(PLAN)),
    "aiotrack-schema, a typed event": case(lambda: Schema(Purchase), track=typed),
    "aiotrack-privacy, an address": case(Privacy, **ADDRESS),
    "aiotrack-privacy, an allow-list": case(lambda: Privacy(allow=["tags.revenue", "attributes"])),
    "aiotrack-privacy, a pseudonym": case(lambda: Privacy(hash=["user_id"], key=KEY)),
    "aiotrack-privacy, async consent": case(lambda: Privacy(consent=agrees)),
    "aiotrack-log": case(lambda: EventLog(every=None)),
}


def measure(rounds: int, events: int) -> Results:
    return in_turn(CASES, rounds, warm=True)


SECTION = Section("plugins", (Column("us", "{:.2f}"),), "us", measure)
