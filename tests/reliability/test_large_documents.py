"""A large document is taken over in steps: none holds the event loop much longer than reading its JSON does."""

import asyncio
import time

import orjson
import pytest

import aiotrack
from aiotrack.testing import Collector, Reply, until
from aiotrack_optimizely import Optimizely
from aiotrack_vwo import VWO

BEYOND = 0.010  # seconds that a step may take beyond a bare `orjson.loads`
TRIES = 12  # the shortest of them counts: others run on this machine, too

FEATURES = [
    {
        "id": number,
        "key": f"feature{number}",
        "status": "RUNNING",
        "name": "f" * 40,
        "type": "FEATURE_ROLLOUT",
        "metrics": [{"id": 1, "type": "CUSTOM_GOAL", "identifier": f"e{number}"}],
        "variables": [{"id": 1, "type": "string", "key": "k", "value": "v" * 200}],
    }
    for number in range(10_000)
]
SETTINGS = {"version": 1, "accountId": 1, "campaigns": [], "features": FEATURES}
DATAFILE = {
    **{key: [] for key in ("attributes", "groups", "experiments")},
    "version": "4",
    "accountId": "1",
    "projectId": "1",
    "revision": "7",
    "events": [{"id": str(number), "key": f"e{number}", "experimentIds": []} for number in range(10_000)],
    "audiences": [{"id": str(number), "name": "a", "conditions": "x" * 300} for number in range(10_000)],
}


async def longest_gap(work):
    """Return the longest time for which the event loop did not run while `work` was done."""
    longest, before, done = 0.0, time.perf_counter(), asyncio.ensure_future(work)
    while not done.done():
        await asyncio.sleep(0.0005)
        now = time.perf_counter()
        longest, before = max(longest, now - before), now
    await done
    return longest


@pytest.mark.parametrize(
    ("document", "make"),
    [
        (DATAFILE, lambda url: Optimizely("k", datafile_url=url, events_url=url)),
        (SETTINGS, lambda url: VWO(1, "k", base_url=url)),
    ],
    ids=["optimizely", "vwo"],
)
async def test_no_step_takes_much_longer_than_reading_the_json(document, make):
    body = orjson.dumps(document)

    def load():
        orjson.loads(body)  # and let go of it

    async def take_over():
        destination = make(server.url)
        async with aiotrack.Client(destination, shutdown_timeout=0):
            await until(lambda: destination.catalog is not None, timeout=20)

    bare, ours = [], []
    async with Collector(default=Reply(body=body)) as server:
        for _ in range(TRIES):
            bare.append(await longest_gap(asyncio.to_thread(load)))
            ours.append(await longest_gap(take_over()))
            if min(ours) <= min(bare) + BEYOND:
                return
    pytest.fail(f"a step took {min(ours) * 1000:.0f} ms, and a bare orjson.loads {min(bare) * 1000:.0f} ms")


async def test_a_mapping_that_is_given_stays_as_it_is():
    settings, datafile = orjson.dumps(SETTINGS), orjson.dumps(DATAFILE)
    VWO(1, "k", settings=SETTINGS)
    Optimizely(datafile=DATAFILE)
    assert (orjson.dumps(SETTINGS), orjson.dumps(DATAFILE)) == (settings, datafile)
