"""A test for each hook, by its name: when it is called, with what, and what its answer does."""

import asyncio
import inspect
import re
from pathlib import Path

import attrs
import pytest
from support import Recorder

import aiotrack
from aiotrack.hooks.hookspecs import HOOKS
from aiotrack.hooks.registration import hooks_of

CHART = Path(__file__).parents[2] / "docs/plugins/README.md"


def plugin_with(hook, function, **options):
    """Return a plugin `mine` with one hook: a function of what the hook offers, answered as the hook answers."""
    if inspect.iscoroutinefunction(HOOKS[hook]):

        async def awaited(*args):
            return function(*args)

        call = awaited
    else:
        call = function
    names = ", ".join(inspect.signature(HOOKS[hook]).parameters)
    colour, wait = ("async ", "await ") if call is not function else ("", "")
    namespace = {"call": call}
    exec(f"{colour}def {hook}(self, {names}): return {wait}call({names})", namespace)  # noqa: S102 - with the hook's own arguments
    return type("Mine", (), {"name": "mine", hook: aiotrack.hookimpl(**options)(namespace[hook])})()


async def life(*plugins, tags=None, answers=(), **options):
    """Track one event through a client's whole life; return the recorder, the result and the counters."""
    recorder = Recorder(*answers)
    async with aiotrack.Client(recorder, *plugins, **options) as client:
        result = await client.create_user_context("u", {"plan": "gold"}).track_event("k", tags)
        await client.flush()
    return recorder, result, client.stats()


async def test_aiotrack_destination_brings_one_or_none():
    recorder = Recorder(name="mine's own")
    seen = []

    def choose(client):
        seen.append(type(client))
        return recorder

    _, result, _ = await life(plugin_with("aiotrack_destination", choose))
    assert set(result.accepted) == {"recorder", "mine's own"}
    assert seen == [aiotrack.Client]
    _, result, _ = await life(plugin_with("aiotrack_destination", lambda client: None))
    assert result.accepted == ("recorder",)


async def test_aiotrack_destination_that_raises_stops_the_start():
    def fails(client):
        raise KeyError

    with pytest.raises(aiotrack.errors.PluginError, match="plugin 'mine' raised KeyError in aiotrack_destination"):
        await life(plugin_with("aiotrack_destination", fails))


async def test_aiotrack_reserved_tags_convert_into_their_places():
    tag = aiotrack.ReservedTag(int, "a whole number", place="quantity")
    recorder, _, _ = await life(plugin_with("aiotrack_reserved_tags", lambda: {"qty": tag}), tags={"qty": "3"})
    assert b'"quantity":3' in recorder.events[0]
    assert b'"tags":{"qty":"3"}' in recorder.events[0]


async def test_aiotrack_event_schemas_refuse_what_does_not_fit():
    class Never:
        def check(self, tags):
            return [aiotrack.Problem("tags.a", "something else", str(len(tags)))]

    _, result, _ = await life(plugin_with("aiotrack_event_schemas", lambda: {"k": Never()}), tags={"a": 1})
    assert result.refused["recorder"].plugin == "mine"
    _, result, _ = await life(plugin_with("aiotrack_event_schemas", lambda: {"other": Never()}), tags={"a": 1})
    assert result


async def test_aiotrack_check_event_refuses_with_its_problems():
    _, result, stats = await life(plugin_with("aiotrack_check_event", lambda event: [event.key, "no"]))
    assert [str(problem) for problem in result.refused["recorder"].problems] == ["event: k", "event: no"]
    assert stats.refused == {"refused by plugin": 1}


async def test_aiotrack_process_event_changes_or_drops():
    change = plugin_with("aiotrack_process_event", lambda event: attrs.evolve(event, tags={"new": 1}))
    recorder, _, _ = await life(change, tags={"old": 1})
    assert b'"tags":{"new":1}' in recorder.events[0]
    _, result, stats = await life(plugin_with("aiotrack_process_event", lambda event: None))
    assert not result
    assert stats.plugins["mine"].dropped == 1


async def test_aiotrack_finalize_event_comes_after_enrich_and_fails_closed():
    seen = []
    last = plugin_with("aiotrack_finalize_event", lambda event: seen.append(dict(event.tags)) or event)
    enrich = plugin_with("aiotrack_enrich_event", lambda event: attrs.evolve(event, tags={"enriched": True}))
    await life(last, enrich)
    assert seen == [{"enriched": True}]
    recorder, result, stats = await life(plugin_with("aiotrack_finalize_event", lambda event: 1 / 0))
    assert recorder.events == []
    assert result.refused["recorder"].reason == "dropped by plugin"
    assert stats.plugins["mine"].errors == 1


async def test_aiotrack_enrich_event_changes_or_drops_and_is_awaited():
    change = plugin_with("aiotrack_enrich_event", lambda event: attrs.evolve(event, user_id="other"))
    recorder, _, _ = await life(change)
    assert b'"user_id":"other"' in recorder.events[0]
    _, result, stats = await life(plugin_with("aiotrack_enrich_event", lambda event: None))
    assert not result
    assert stats.plugins["mine"].dropped == 1


async def test_aiotrack_event_tracked_hears_what_was_accepted_only():
    heard = []
    listener = plugin_with("aiotrack_event_tracked", heard.append)
    _, result, _ = await life(listener)
    await life(listener, tags={"a": float("nan")})
    assert [event.event_id for event in heard] == [result.event_id]


async def test_aiotrack_event_refused_hears_why():
    heard = []
    listener = plugin_with("aiotrack_event_refused", lambda event, refusal: heard.append((event.key, refusal.path)))
    await life(listener)
    await life(listener, tags={"a": float("nan")})
    assert heard == [("k", "tags.a")]


async def test_aiotrack_event_lost_hears_of_dead_and_dropped_events():
    heard = []
    listener = plugin_with(
        "aiotrack_event_lost", lambda destination, lost, reason: heard.append((destination.name, lost, reason))
    )
    await life(listener, answers=[aiotrack.Answer(status=400)])
    ((name, letter, reason),) = heard
    assert (name, reason, letter.cause.status, letter.destination) == ("recorder", "HTTP 400", 400, "recorder")
    assert b'"k"' in letter.entry
    heard.clear()
    down = Recorder(*[aiotrack.Answer(status=503)] * 100)
    options = {"overflow": "drop_oldest", "buffer": aiotrack.MemoryBuffer(400), "shutdown_timeout": 0.1}
    async with aiotrack.Client(down, listener, **options) as client:
        for _ in range(5):
            await client.create_user_context("u").track_event("k")
        pending = client.stats().total.pending
    assert heard[-1] == ("recorder", pending, "the client was closed")
    assert heard[0] == ("recorder", 1, "pushed out by newer events")
    assert sum(lost for _, lost, _ in heard) == 5


async def test_aiotrack_batch_sending_hears_of_each_attempt():
    heard = []
    listener = plugin_with("aiotrack_batch_sending", lambda batch: heard.append((len(batch), batch.attempt)))
    await life(listener, answers=[aiotrack.Answer(status=503)])
    assert heard == [(1, 1), (1, 2)]


async def test_aiotrack_batch_delivered_hears_the_answer():
    heard = []
    listener = plugin_with("aiotrack_batch_delivered", lambda batch, answer: heard.append((len(batch), str(answer))))
    await life(listener, answers=[aiotrack.Answer(status=503)])
    assert heard == [(1, "ok")]


async def test_aiotrack_batch_failed_hears_the_answer():
    heard = []
    listener = plugin_with("aiotrack_batch_failed", lambda batch, answer: heard.append((len(batch), answer.status)))
    await life(listener, answers=[aiotrack.Answer(status=503)])
    assert heard == [(1, 503)]


async def test_aiotrack_catalog_updated_hears_of_a_revision():
    heard = []
    listener = plugin_with(
        "aiotrack_catalog_updated", lambda where, catalog: heard.append((where.name, catalog.revision))
    )
    recorder = Recorder()
    recorder.catalog = aiotrack.Catalog("1")
    async with aiotrack.Client(recorder, listener):
        recorder.update_catalog(aiotrack.Catalog("2"))
    assert heard == [("recorder", "1"), ("recorder", "2")]


async def test_aiotrack_startup_comes_before_the_first_event():
    seen = []
    _, result, _ = await life(
        plugin_with("aiotrack_startup", lambda client: seen.append(client.stats().total.accepted))
    )
    assert seen == [0]
    assert result


async def test_aiotrack_startup_that_raises_stops_the_start_when_strict():
    def fails(client):
        raise KeyError

    with pytest.raises(aiotrack.errors.PluginError, match="plugin 'mine' raised KeyError in aiotrack_startup"):
        await life(plugin_with("aiotrack_startup", fails), strict=True)


async def test_aiotrack_shutdown_can_still_track():
    def farewell(client):
        assert client.create_user_context("u").track_event_nowait("farewell")

    recorder, _, stats = await life(plugin_with("aiotrack_shutdown", farewell))
    assert len(recorder.events) == 2
    assert stats.total.delivered == 2


async def test_the_chart_shows_the_order_in_which_hooks_are_called():
    """Recorded from a life in which every hook is called."""
    called = []

    def note(hook, answer=None):
        return plugin_with(hook, lambda *args: called.append(hook) or (args[0] if answer == "event" else answer))

    answers = dict.fromkeys(("aiotrack_process_event", "aiotrack_enrich_event", "aiotrack_finalize_event"), "event")
    answers |= {"aiotrack_reserved_tags": {}, "aiotrack_event_schemas": {}}
    recorder = Recorder(aiotrack.Answer(), aiotrack.Answer(status=400))
    client = aiotrack.Client(recorder, *(note(hook, answers.get(hook)) for hook in HOOKS))
    async with client:
        recorder.update_catalog(aiotrack.Catalog("1"))
        user = client.create_user_context("u")
        await user.track_event("k")
        await user.track_event("k", {"a": float("nan")})
        await client.flush()
        await user.track_event("k")
        await client.flush()
        await asyncio.sleep(0)
    chart = re.search(r"^```\n(.*?)^```", CHART.read_text(), re.MULTILINE | re.DOTALL).group(1)
    charted = list(dict.fromkeys(re.findall(r"aiotrack_\w+", chart)))
    assert list(dict.fromkeys(called)) == charted
    assert set(charted) == set(HOOKS) == {hook for hook in HOOKS if hook in hooks_of(note(hook))}
