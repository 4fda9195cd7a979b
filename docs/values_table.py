"""Draw the table of docs/values.md: what Python's types become at each destination. `python docs/values_table.py`."""

from __future__ import annotations

import array
import asyncio
import dataclasses
import datetime
import decimal
import enum
import io
import logging
import tempfile
import uuid
from fractions import Fraction
from pathlib import Path
from typing import Any

import attrs
import numpy
import orjson
import pandas
import pydantic

import aiotrack
from aiotrack_optimizely import Optimizely
from aiotrack_posthog import PostHog
from aiotrack_vwo import VWO

AWARE = datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
DATAFILE = {
    **{name: [] for name in ("attributes", "groups", "experiments", "audiences")},
    "version": "4",
    "accountId": "1",
    "projectId": "1",
    "revision": "1",
    "events": [{"id": "1", "key": "e", "experimentIds": []}],
}
METRIC = {"id": 1, "type": "CUSTOM_GOAL", "identifier": "e"}
FEATURE = {
    "id": 1,
    "key": "f",
    "status": "ON",
    "name": "f",
    "type": "FEATURE_ROLLOUT",
    "metrics": [METRIC],
    "rules": [],
}
SETTINGS = {"version": 1, "accountId": 1, "sdkKey": "k", "campaigns": [], "features": [FEATURE]}


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Item:
    sku: str


@attrs.frozen
class Box:
    size: int


class Model(pydantic.BaseModel):
    a: int = 1


WORDS = {"a", "an", "half"}
VALUES: dict[str, Any] = {
    '"text"': "text",
    "42": 42,
    "2**64 - 1": 2**64 - 1,
    "2**64": 2**64,
    "13.5": 13.5,
    "True": True,
    "None": None,
    '[1, "a"]': [1, "a"],
    '{"a": [1]}': {"a": [1]},
    "{1: 2}": {1: 2},
    "(1, 2)": (1, 2),
    "{2, 1}": {2, 1},
    "frozenset": frozenset({"a"}),
    "an aware datetime": AWARE,
    "a naive datetime": AWARE.replace(tzinfo=None),
    "date": AWARE.date(),
    "time": AWARE.time(),
    "timedelta": datetime.timedelta(1),
    'Decimal("42.00")': decimal.Decimal("42.00"),
    'Decimal("42.10")': decimal.Decimal("42.10"),
    'Decimal("NaN")': decimal.Decimal("NaN"),
    "Fraction": Fraction(1, 3),
    "UUID": uuid.UUID(int=1),
    "Enum": Colour.RED,
    "a dataclass": Item("s"),
    "an attrs object": Box(1),
    "a pydantic model": Model(),
    "numpy.int64": numpy.int64(5),
    "numpy.float32": numpy.float32(1.5),
    "numpy.bool": numpy.bool_(True),
    "numpy.datetime64": numpy.datetime64("2024-01-01"),
    "numpy.ndarray": numpy.array([1]),
    "pandas.Timestamp, aware": pandas.Timestamp("2024-01-02", tz="UTC"),
    "pandas.NaT": pandas.NaT,
    "pandas.Series": pandas.Series([1]),
    "array.array": array.array("i", [1]),
    "bytes": b"x",
    'float("nan")': float("nan"),
    "half a surrogate pair": "\ud800",
    "an open file": io.BytesIO(),
    "a Path": Path("/x"),
    "a generator": (number for number in range(2)),
}


async def rows() -> list[str]:
    """Track each value as a tag at every destination; return the rows of the table."""
    sent: dict[str, Any] = {}

    def captured(destination: aiotrack.Destination) -> aiotrack.Destination:
        async def send(batch: aiotrack.Batch) -> aiotrack.Answer:
            sent[batch.destination] = orjson.loads(batch.request.body)
            return aiotrack.Answer()

        destination.send = send  # type: ignore[method-assign]
        return destination

    destinations = {
        "http": aiotrack.HTTPDestination("http://127.0.0.1:9/"),
        "local": aiotrack.LocalStore(Path(tempfile.mkdtemp()) / "events.db"),
        "optimizely": Optimizely("k", datafile=DATAFILE, poll_interval=86_400),
        "vwo": VWO(1, "k", settings=SETTINGS, poll_interval=86_400),
        "posthog": PostHog("k"),
    }
    table: list[str] = []
    async with aiotrack.Client(*map(captured, destinations.values()), flush_interval=3600) as client:
        for shown, value in VALUES.items():
            sent.clear()
            result = await client.create_user_context("u").track_event("e", {"tag": value})
            await client.flush(1)
            cells = []
            for name in destinations:
                if name in result.refused:
                    cells.append(str(result.refused[name].message))
                else:
                    cells.append(orjson.dumps(_tag(sent[name])).decode())
            if len(set(cells)) > 1:
                raise RuntimeError(f"{shown}: not the same at each destination: {cells}")
            sent_or_said = f"`{cells[0]}`" if result else cells[0]
            table.append(f"| {shown if shown.split()[0] in WORDS else f'`{shown}`'} | {sent_or_said} |")
    return table


def _tag(entry: Any) -> Any:
    """Find the tag in an entry, wherever a destination puts it."""
    if isinstance(entry, dict):
        if "tag" in entry:
            return entry["tag"]
        entry = list(entry.values())
    found = (_tag(one) for one in entry if isinstance(one, dict | list))
    return next((one for one in found if one is not None), None)


def table() -> str:
    """Return the table in Markdown."""
    logging.disable(logging.CRITICAL)
    return "\n".join(
        ["| a tag of | as it is sent, or the sentence of the refusal |", "|---|---|", *asyncio.run(rows())]
    )


if __name__ == "__main__":
    print(table())
