"""What the plugin does to events, in a real client; `tracked`, `collector` and `frozen_clock` come with aiotrack."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import aiotrack
from aiotrack.testing import Collector, ManualClock, Reply, Tracked, check_plugin, until
from aiotrack_weekend import Weekend

FRIDAY_LATE = 1_700_265_599_999  # 2023-11-17 23:59:59.999 UTC
SATURDAY = 1_700_265_600_000
SUNDAY_LATE = 1_700_438_399_999
MONDAY = 1_700_438_400_000

HOOKS = {
    "aiotrack_check_event",
    "aiotrack_process_event",
    "aiotrack_event_tracked",
    "aiotrack_batch_failed",
    "aiotrack_startup",
}


async def vip(user_id: str) -> str | None:
    await asyncio.sleep(0)
    return "vip" if user_id == "ann" else None


@pytest.fixture
def store(tmp_path: Path) -> aiotrack.LocalStore:
    return aiotrack.LocalStore(tmp_path / "events.db")


def test_it_is_a_good_plugin() -> None:
    assert set(check_plugin(Weekend(), events=[("purchase", {"revenue": 1_000_001})])) == HOOKS


def test_it_is_a_good_plugin_with_segments() -> None:
    assert set(check_plugin(Weekend(segment=vip))) == HOOKS | {"aiotrack_enrich_event"}


async def test_a_purchase_above_the_limit_is_refused(tracked: Tracked, store: aiotrack.LocalStore) -> None:
    async with aiotrack.Client(Weekend(), store) as client:
        user = client.create_user_context("ann")
        assert await user.track_event("purchase", {"revenue": 1_000_000})
        assert await user.track_event("refund", {"revenue": 1_000_001})
        assert await user.track_event("purchase")
        assert await user.track_event("purchase", {"revenue": "no number"})
        result = await user.track_event("purchase", {"revenue": 1_000_001})
    refusal = result.refused["local"]
    assert str(refusal) == "invalid tag: tags.revenue: expected at most 1000000, got more"
    tracked.none("purchase", revenue=1_000_001)
    assert len(tracked.refused) == 1


async def test_the_limit_is_an_option(store: aiotrack.LocalStore) -> None:
    async with aiotrack.Client(Weekend(limit=10), store, strict=True) as client:
        user = client.create_user_context("ann")
        assert await user.track_event("purchase", {"revenue": 10})
        with pytest.raises(aiotrack.errors.EventRefused, match=r"tags\.revenue: expected at most 10, got more"):
            await user.track_event("purchase", {"revenue": 11})


@pytest.mark.parametrize(
    ("timestamp", "weekend"), [(FRIDAY_LATE, False), (SATURDAY, True), (SUNDAY_LATE, True), (MONDAY, False)]
)
async def test_weekends(tracked: Tracked, store: aiotrack.LocalStore, timestamp: int, weekend: bool) -> None:
    async with aiotrack.Client(Weekend(), store) as client:
        assert await client.create_user_context("ann").track_event("view", timestamp=timestamp)
    assert tracked.one("view", timestamp=timestamp).tags["weekend"] is weekend


@pytest.mark.parametrize("timestamp", [-1, 0, 10**18])
async def test_no_timestamp_is_too_strange(tracked: Tracked, store: aiotrack.LocalStore, timestamp: int) -> None:
    async with aiotrack.Client(Weekend(), store, strict=True) as client:
        assert await client.create_user_context("ann").track_event("view", timestamp=timestamp)
    assert isinstance(tracked.one("view").tags["weekend"], bool)


async def test_the_time_of_an_event_is_the_clocks(
    tracked: Tracked, frozen_clock: ManualClock, store: aiotrack.LocalStore
) -> None:
    async with aiotrack.Client(Weekend(), store) as client:
        user = client.create_user_context("ann")
        await user.track_event("tuesday")
        frozen_clock.advance(4 * 86_400)
        await user.track_event("saturday")
    tracked.one("tuesday", weekend=False, timestamp=1_700_000_000_000)
    tracked.one("saturday", weekend=True)


async def test_the_segment_is_an_attribute_of_the_event(tracked: Tracked, store: aiotrack.LocalStore) -> None:
    async with aiotrack.Client(Weekend(segment=vip), store) as client:
        await client.create_user_context("ann", {"plan": "gold"}).track_event("view")
        await client.create_user_context("bob", {"plan": "gold"}).track_event("view")
        result = client.create_user_context("ann").track_event_nowait("click")
    assert tracked.one("view", user_id="ann").attributes == {"plan": "gold", "segment": "vip"}
    assert tracked.one("view", user_id="bob").attributes == {"plan": "gold"}
    assert not result
    assert result.refused["local"].reason == aiotrack.Reason.NEEDS_AWAIT


async def test_without_segments_nobody_has_to_await(tracked: Tracked, store: aiotrack.LocalStore) -> None:
    async with aiotrack.Client(Weekend(), store, strict=True) as client:
        assert client.create_user_context("ann").track_event_nowait("view")
    assert tracked.one("view", user_id="ann").attributes == {}


async def test_a_lookup_that_fails_stops_nothing(tracked: Tracked, store: aiotrack.LocalStore) -> None:
    async def broken(user_id: str) -> str:
        raise RuntimeError(user_id)

    async with aiotrack.Client(Weekend(segment=broken), store) as client:
        assert await client.create_user_context("ann").track_event("view")
        assert client.stats().plugins["weekend"].errors == 1
    assert tracked.one("view").attributes == {}


async def test_it_counts(collector: Collector, frozen_clock: ManualClock) -> None:
    plugin = Weekend()
    collector.script(Reply(status=503))
    async with aiotrack.Client(plugin, aiotrack.HTTPDestination(collector.url)) as client:
        user = client.create_user_context("ann")
        await user.track_event("view")
        await user.track_event("view")
        await user.track_event("purchase", {"revenue": 1_000_001})
        frozen_clock.advance(1)
        await until(lambda: plugin.counts.failed == 1)
        frozen_clock.advance(30)
        await until(lambda: client.stats().total.delivered == 2)
    assert (plugin.counts.tracked, plugin.counts.failed) == (2, 1)


async def test_minutes(frozen_clock: ManualClock, store: aiotrack.LocalStore) -> None:
    plugin = Weekend()
    async with aiotrack.Client(plugin, store) as client:
        user = client.create_user_context("ann")
        for _ in range(3):
            await user.track_event("view")
            frozen_clock.advance(59)
            await user.track_event("view")
            assert plugin.counts.minute == 2
            frozen_clock.advance(1)
            await until(lambda: plugin.counts.minute == 0)
    assert plugin.counts.tracked == 6


async def test_it_is_found_and_can_be_blocked(tracked: Tracked, store: aiotrack.LocalStore, tmp_path: Path) -> None:
    async with aiotrack.Client(store, autoload=True) as client:
        assert await client.create_user_context("ann").track_event("found")
    async with aiotrack.Client(aiotrack.LocalStore(tmp_path / "2.db"), autoload=True, block=["weekend"]) as client:
        assert await client.create_user_context("ann").track_event("blocked")
    assert "weekend" in tracked.one("found").tags
    assert "weekend" not in tracked.one("blocked").tags
