"""Plugins that are slow, hang or want to be the last: named, counted, and in nobody's way."""

import asyncio
import logging
import time

import attrs
import orjson
import pytest
from support import Recorder, assert_conserved

import aiotrack
from aiotrack import errors, hookimpl
from aiotrack.hooks.budget import Budget
from aiotrack.model.log import EpisodeLog
from aiotrack.model.settings import Settings
from aiotrack.testing import ManualClock


class Slow:
    """Holds the loop up in its check."""

    name = "slow"

    @hookimpl
    def aiotrack_check_event(self, event):
        time.sleep(0.02)


async def track(*plugins, events=1, **options):
    recorder = Recorder()
    async with aiotrack.Client(recorder, *plugins, **options) as client:
        user = client.create_user_context("u")
        results = [await user.track_event("k", {"a": 1}) for _ in range(events)]
        await client.flush()
    return recorder.events, results, assert_conserved(client)


async def test_a_slow_plugin_is_named_once_and_counted_each_time(caplog):
    events, results, stats = await track(Slow(), events=3, plugin_budget=0.01)
    assert all(results)
    assert len(events) == 3
    assert stats.plugins["slow"] == aiotrack.PluginStats(slow=3)
    (record,) = [record for record in caplog.records if "slow" in record.message]
    assert record.levelno == logging.WARNING
    assert "'slow' held the event loop up for" in record.message
    assert "in aiotrack_check_event; it may take 10 ms (plugin_budget)" in record.message


async def test_a_plugin_within_its_budget_is_not_named(caplog):
    _, _, stats = await track(Slow(), plugin_budget=60)
    assert stats.plugins["slow"] == aiotrack.PluginStats()
    assert caplog.records == []


async def test_strict_raises_what_was_too_slow():
    async with aiotrack.Client(Recorder(), Slow(), strict=True, plugin_budget=0.01) as client:
        with pytest.raises(errors.PluginError, match=r"'slow' held the event loop up for .*it may take 10 ms"):
            await client.create_user_context("u").track_event("k")
        assert client.stats().plugins["slow"] == aiotrack.PluginStats(slow=1)


@pytest.mark.parametrize("strict", [False, True])
async def test_slow_listeners_are_named_and_stop_nothing(strict, caplog):
    """Nobody awaits what a batch's listeners raise, so `strict` has nobody to raise it to."""
    async with aiotrack.Client(Recorder(), plugin_budget=0.01, strict=strict) as client:
        for hook in ("aiotrack_batch_sending", "aiotrack_batch_delivered"):
            client.on(hook, lambda *_: time.sleep(0.02))
        await client.create_user_context("u").track_event("k")
        await client.flush()
        stats = assert_conserved(client)
    assert stats.total.delivered == 1
    assert sum(plugin.slow for plugin in stats.plugins.values()) == 2
    assert "in aiotrack_batch_sending" in caplog.text
    assert "in aiotrack_batch_delivered" in caplog.text


async def test_a_slow_schema_is_named():
    class Plan:
        name = "plan"

        @hookimpl
        def aiotrack_event_schemas(self):
            class Schema:
                def check(self, tags):
                    time.sleep(0.02)
                    return ()

            return {"k": Schema()}

    _, (result,), stats = await track(Plan(), plugin_budget=0.01)
    assert result
    assert stats.plugins["plan"].slow == 1


class Hangs:
    """Never answers in the hook it is told."""

    name = "hangs"

    def __init__(self, hook):
        async def hang(event):
            await asyncio.Event().wait()

        async def hang_client(client):
            await asyncio.Event().wait()

        setattr(self, hook, hookimpl(hang if hook == "aiotrack_enrich_event" else hang_client))


@pytest.mark.parametrize("hook", ["aiotrack_enrich_event", "aiotrack_startup", "aiotrack_shutdown"])
async def test_a_plugin_that_hangs_is_named_and_counted_and_stops_nothing(hook, caplog):
    lived = []

    class Neighbour:
        @hookimpl
        async def aiotrack_startup(self, client):
            lived.append("start")

        @hookimpl
        async def aiotrack_shutdown(self, client):
            lived.append("stop")

    recorder = Recorder()
    client = aiotrack.Client(recorder, Hangs(hook), Neighbour(), plugin_timeout=0.05)
    async with client:
        assert await client.create_user_context("u").track_event("k")
    assert len(recorder.events) == 1
    assert lived == ["start", "stop"]
    assert client.stats().plugins["hangs"] == aiotrack.PluginStats(errors=1, slow=1)
    (record,) = [record for record in caplog.records if "hangs" in record.message]
    assert f"'hangs' did not answer in {hook} within 0.05 s (plugin_timeout)" in record.message


async def test_strict_raises_that_a_plugin_hangs():
    async with aiotrack.Client(Recorder(), Hangs("aiotrack_enrich_event"), plugin_timeout=0.05, strict=True) as client:
        with pytest.raises(errors.PluginError, match="'hangs' raised Overdue in aiotrack_enrich_event"):
            await client.create_user_context("u").track_event("k")


class Deaf:
    """Hangs, and does not listen when it is told to end."""

    name = "deaf"

    def __init__(self, hook):
        async def hang():
            while True:
                try:
                    await asyncio.Event().wait()
                except BaseException:  # noqa: S112 - that is what it is about
                    continue

        async def hang_event(event):
            await hang()

        async def hang_client(client):
            await hang()

        setattr(self, hook, hookimpl(hang_event if hook == "aiotrack_enrich_event" else hang_client))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it ignores its own end, too
@pytest.mark.parametrize("hook", ["aiotrack_enrich_event", "aiotrack_startup", "aiotrack_shutdown"])
async def test_a_plugin_that_can_not_be_cancelled_is_left_behind(hook, monkeypatch):
    monkeypatch.setattr("aiotrack.model.tasks.GRACE", 0.05)
    recorder = Recorder()
    client = aiotrack.Client(recorder, Deaf(hook), plugin_timeout=0.05)
    async with asyncio.timeout(5), client:
        assert await client.create_user_context("u").track_event("k")
    assert len(recorder.events) == 1
    assert client.stats().plugins["deaf"] == aiotrack.PluginStats(errors=1, slow=1)
    assert "closed" in repr(client)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_caller_who_was_cancelled_meanwhile_stays_cancelled(monkeypatch):
    monkeypatch.setattr("aiotrack.model.tasks.GRACE", 0.05)
    async with aiotrack.Client(Recorder(), Deaf("aiotrack_enrich_event"), plugin_timeout=0.1) as client:
        task = asyncio.ensure_future(client.create_user_context("u").track_event("k"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("hook", ["aiotrack_check_event", "aiotrack_process_event", "aiotrack_event_tracked"])
async def test_a_cancellation_that_a_sync_hook_found_elsewhere_is_an_error_like_others(hook):
    class Found:
        name = "found"

    def raises(event):
        raise asyncio.CancelledError

    setattr(Found, hook, staticmethod(hookimpl(raises)))
    events, (result,), stats = await track(Found())
    assert result
    assert len(events) == 1
    assert stats.plugins["found"].errors == 1


async def test_strict_counts_a_refusal_before_a_listener_raises():
    class Refuses(Recorder):
        def encode(self, event):
            raise errors.EventRefused(aiotrack.Refusal("unknown event", "never heard of it"))

    class Raises:
        @hookimpl
        def aiotrack_event_tracked(self, event):
            raise KeyError

    async with aiotrack.Client(Recorder(), Refuses(name="other"), Raises(), strict=True) as client:
        with pytest.raises(errors.PluginError, match="raised KeyError"):
            await client.create_user_context("u").track_event("k")
        assert client.stats().refused == {"unknown event": 1}


async def test_a_timeout_of_a_plugins_own_is_an_error_like_others(caplog):
    class Own:
        name = "own"

        @hookimpl
        async def aiotrack_enrich_event(self, event):
            await asyncio.sleep(0)
            raise TimeoutError

    _, (result,), stats = await track(Own())
    assert result
    assert stats.plugins["own"] == aiotrack.PluginStats(errors=1)
    assert "'own' raised TimeoutError in aiotrack_enrich_event" in caplog.text


# -- the last word ------------------------------------------------------------------------------------


class Enrich:
    @hookimpl
    async def aiotrack_enrich_event(self, event):
        await asyncio.sleep(0)
        return attrs.evolve(event, tags={**event.tags, "secret": 1})


class Plan:
    """Wants the tag that the scrub takes away."""

    @hookimpl
    def aiotrack_check_event(self, event):
        return None if "a" in event.tags else "a tag a"


class Scrub:
    name = "scrub"

    def __init__(self, **tags):
        self.tags = tags
        self.saw = []

    @hookimpl
    def aiotrack_finalize_event(self, event):
        self.saw.append(dict(event.tags))
        return attrs.evolve(event, tags=self.tags)


@pytest.mark.parametrize("plugins", [[], [Enrich]])
async def test_a_finalize_hook_has_the_last_word(plugins):
    """After the async hooks, too; what it leaves is not held against the plugins' checks."""
    scrub, heard = Scrub(left=True), []
    recorder = Recorder()
    async with aiotrack.Client(scrub, recorder, Plan(), *(plugin() for plugin in plugins)) as client:
        client.on("aiotrack_event_tracked", lambda event: heard.append(dict(event.tags)))
        assert await client.create_user_context("u").track_event("k", {"a": 1, "revenue": 5})
    assert scrub.saw == [{"a": 1, "revenue": 5} | ({"secret": 1} if plugins else {})]
    assert heard == [{"left": True}]
    (entry,) = recorder.events
    assert b'"tags":{"left":true}' in entry
    assert b"revenue" not in entry


async def test_finalize_hooks_come_in_the_order_they_were_given_unless_they_ask_for_another():
    order = []

    def noting(letter, **options):
        def note(event):
            order.append(letter)
            return event

        return type(letter, (), {"aiotrack_finalize_event": staticmethod(hookimpl(**options)(note))})()

    last, first = {"trylast": True}, {"tryfirst": True}
    await track(noting("y", **last), noting("b"), noting("z", **last), noting("a", **first), noting("c"), Enrich())
    assert order == ["a", "b", "c", "y", "z"]


async def test_what_a_finalize_hook_leaves_must_still_be_sendable():
    for tags, path in (({"a": float("nan")}, "tags.a"), ({"a": b"x"}, "tags.a")):
        events, (result,), _ = await track(Scrub(**tags))
        assert events == []
        assert result.refused["recorder"].path == path


async def test_a_finalize_hook_leaves_nowait_as_it_is():
    async with aiotrack.Client(Recorder(), Scrub()) as client:
        assert client.create_user_context("u").track_event_nowait("k")


async def test_an_event_that_a_finalize_hook_drops_is_refused_under_its_name():
    class Drop:
        name = "drop"

        @hookimpl
        def aiotrack_finalize_event(self, event):
            return None

    _, (result,), stats = await track(Drop(), Enrich())
    assert result.refused["recorder"].plugin == "drop"
    assert stats.plugins["drop"].dropped == 1


@pytest.mark.parametrize("answer", [KeyError("ann@example.com"), "no event"])
async def test_a_finalize_hook_fails_closed_and_listeners_see_the_key_only(answer, caplog):
    """What takes away what must not leave can't be skipped when it fails; strict raises."""

    class Broken:
        name = "broken"

        @hookimpl
        def aiotrack_finalize_event(self, event):
            if isinstance(answer, Exception):
                raise answer
            return answer

    recorder, heard = Recorder(), []
    async with aiotrack.Client(recorder, Broken()) as client:
        client.on("aiotrack_event_refused", lambda event, refusal: heard.append((event, refusal)))
        user = client.create_user_context("ann")
        result = await user.track_event("k", {"mail": "ann@example.com"})
        await client.flush()
        assert assert_conserved(client).refused == {"dropped by plugin": 1}
    assert not result
    ((event, refusal),) = heard
    assert (event.key, event.user_id, event.tags) == ("k", "", {})
    assert refusal.plugin == "broken"
    assert recorder.events == []
    assert "ann@example.com" not in caplog.text
    async with aiotrack.Client(Recorder(), Broken(), strict=True) as client:
        with pytest.raises(errors.PluginError, match="'broken' raised"):
            await client.create_user_context("ann").track_event("k")


# -- registration -------------------------------------------------------------------------------------


def test_a_hook_that_cannot_be_called_by_position_is_refused():
    class Keyword:
        @hookimpl
        def aiotrack_check_event(self, *, event): ...

    with pytest.raises(
        errors.PluginError, match=r"called as aiotrack_check_event\(event\).* wants 'event', by keyword"
    ):
        aiotrack.Client(Keyword())


async def test_arguments_may_be_fewer_and_have_defaults_of_their_own():
    class Few:
        def __init__(self):
            self.heard = []

        @hookimpl
        def aiotrack_batch_delivered(self, mine=3, answer=None):
            self.heard.append((mine, str(answer)))

        @hookimpl
        def aiotrack_event_tracked(self, event, mine=4):
            self.heard.append((event.key, mine))

        @hookimpl
        def aiotrack_batch_sending(self):
            self.heard.append("sending")

    few = Few()
    _, _, stats = await track(few)
    assert few.heard == [("k", 4), "sending", (3, "ok")]
    assert stats.plugins["Few"] == aiotrack.PluginStats()


def test_a_manual_clock_does_not_hide_a_slow_plugin():
    """The budget is of real time: it is the real loop that stands still."""
    client = aiotrack.Client(Slow(), clock=ManualClock(), plugin_budget=0.01)
    timed = client._plugins.calls["aiotrack_check_event"][-1][1]
    timed(aiotrack.Event("k", "u"))
    assert client.stats().plugins["slow"].slow == 1


# -- what else can hold the loop up -----------------------------------------------------------------------


class SlowGenerator:
    name = "slow"

    @hookimpl
    def aiotrack_check_event(self, event):
        time.sleep(0.02)
        yield from ()


class SlowConversion:
    name = "slow"

    @hookimpl
    def aiotrack_reserved_tags(self):
        return {"a": aiotrack.ReservedTag(lambda raw: time.sleep(0.02), "anything")}


class SlowSchema:
    name = "slow"

    @hookimpl
    def aiotrack_event_schemas(self):
        return {"k": self}

    def check(self, tags):
        time.sleep(0.02)
        yield from ()


class SlowAsync:
    name = "slow"

    @hookimpl
    async def aiotrack_enrich_event(self, event):
        await asyncio.sleep(0)
        time.sleep(0.02)  # noqa: ASYNC251 - what it must not do
        await asyncio.sleep(0)
        return event


class SlowStart:
    name = "slow"

    @hookimpl
    async def aiotrack_startup(self, client):
        time.sleep(0.02)  # noqa: ASYNC251 - what it must not do


class SlowEncoding(Recorder):
    name = "slow"

    def __init__(self, **options):
        super().__init__(**{"name": "slow", **options})

    def encode(self, event):
        time.sleep(0.02)
        return super().encode(event)


def slow_choice():
    recorder = Recorder(name="slow")
    recorder.only = lambda event: time.sleep(0.02) is None
    return recorder


SLOW = {
    "generator": (SlowGenerator, "aiotrack_check_event"),
    "conversion": (SlowConversion, "the conversion of 'a'"),
    "schema": (SlowSchema, "aiotrack_event_schemas"),
    "async": (SlowAsync, "aiotrack_enrich_event"),
    "startup": (SlowStart, "aiotrack_startup"),
    "encode": (SlowEncoding, "encode"),
    "only": (slow_choice, "only="),
}


@pytest.mark.parametrize(("make", "where"), SLOW.values(), ids=SLOW)
async def test_whatever_holds_the_loop_up_is_named_and_counted(make, where, caplog):
    _, (result,), stats = await track(make(), plugin_budget=0.01)
    assert result
    assert stats.plugins["slow"].slow == 1
    assert stats.plugins["slow"].errors == 0
    assert f"in {where}; it may take 10 ms (plugin_budget)" in caplog.text


@pytest.mark.parametrize("name", ["generator", "conversion", "schema", "async", "encode"])
async def test_strict_raises_whatever_a_caller_waits_for(name):
    make, where = SLOW[name]
    async with aiotrack.Client(Recorder(), make(), strict=True, plugin_budget=0.01) as client:
        with pytest.raises(errors.PluginError, match=f"'slow' held the event loop up for .* in {where}"):
            await client.create_user_context("u").track_event("k", {"a": 1})
        assert client.stats().plugins["slow"].slow == 1


async def test_an_async_hook_that_only_waits_is_not_slow():
    class Waits:
        name = "waits"

        @hookimpl
        async def aiotrack_enrich_event(self, event):
            await asyncio.sleep(0.03)
            return event

    _, (result,), stats = await track(Waits(), plugin_budget=0.01)
    assert result
    assert stats.plugins["waits"] == aiotrack.PluginStats()


@pytest.mark.parametrize("reserved", [None, 5, {1: 2}, {"revenue": "4200"}, {"revenue": True}, {"value": "1"}], ids=str)
async def test_a_plugin_that_breaks_the_reserved_tags_is_named_and_changes_nothing(reserved):
    class Breaks:
        name = "breaks"

        @hookimpl
        def aiotrack_process_event(self, event):
            return attrs.evolve(event, reserved=reserved)

    (event,), (result,), stats = await track(Breaks())
    assert result
    assert orjson.loads(event)["tags"] == {"a": 1}
    assert stats.plugins["breaks"] == aiotrack.PluginStats(errors=1)


async def test_a_plugin_may_set_the_reserved_tags():
    class Sets:
        @hookimpl
        def aiotrack_process_event(self, event):
            return attrs.evolve(event, reserved={"revenue": 5, "value": 1.5, "own": "x"})

    seen = []
    async with aiotrack.Client(Recorder(), Sets()) as client:
        client.on("aiotrack_event_tracked", lambda event: seen.append((event.revenue, event.value)))
        assert await client.create_user_context("u").track_event("k")
    assert seen == [(5, 1.5)]


async def test_a_timed_coroutine_can_be_awaited_too():
    async def enrich(event):
        await asyncio.sleep(0)
        return event

    budget = Budget(Settings(), EpisodeLog(time.monotonic))
    assert await asyncio.wait_for(budget.timed_async("p", "h", enrich)("e"), 1) == "e"
    assert await asyncio.create_task(budget.timed_async("p", "h", enrich)("e")) == "e"
    budget.timed_async("p", "h", enrich)("e").close()
    assert budget.slow == {}


WRONG = {
    "a number": ("aiotrack_check_event", lambda event: 5, "must return None or problems, got int"),
    "False": ("aiotrack_check_event", lambda event: False, "must return None or problems, got bool"),
    "a coroutine": (
        "aiotrack_check_event",
        lambda event: asyncio.sleep(0),
        "must return None or problems, got coroutine",
    ),
    "no event": ("aiotrack_process_event", lambda event: True, "must return an Event or None, got bool"),
    "no tags": (
        "aiotrack_process_event",
        lambda event: attrs.evolve(event, tags=None),
        "must return an event whose tags are a mapping, got NoneType",
    ),
    "no attributes": (
        "aiotrack_process_event",
        lambda event: attrs.evolve(event, attributes=[1]),
        "must return an event whose attributes are a mapping, got list",
    ),
    "a conversion": (
        "aiotrack_reserved_tags",
        lambda: {"a": aiotrack.ReservedTag(lambda raw: object(), "anything")},
        "must return a JSON value from a reserved tag's conversion, got object",
    ),
}


@pytest.mark.parametrize(("hook", "answer", "sentence"), WRONG.values(), ids=WRONG)
async def test_an_answer_that_is_none_is_the_plugins_mistake_and_costs_nothing(hook, answer, sentence, caplog):
    of_an_event = hook != "aiotrack_reserved_tags"
    function = (lambda self, event: answer(event)) if of_an_event else (lambda self: answer())
    plugin = type("Wrong", (), {"name": "wrong", hook: hookimpl(function)})()
    (event,), (result,), stats = await track(plugin)
    assert result
    assert orjson.loads(event)["tags"] == {"a": 1}
    assert stats.plugins["wrong"] == aiotrack.PluginStats(errors=1)
    assert f"plugin 'wrong': {hook} {sentence}" in caplog.text
    async with aiotrack.Client(Recorder(), plugin, strict=True) as client:
        with pytest.raises(errors.PluginError, match=f"plugin 'wrong' raised WrongAnswer in {hook}: it {sentence}"):
            await client.create_user_context("u").track_event("k", {"a": 1})


async def test_an_empty_sentence_is_no_problem():
    plugin = type("Empty", (), {"aiotrack_check_event": hookimpl(lambda self, event: "")})()
    _, (result,), _ = await track(plugin)
    assert result


def test_plugins_in_a_list_and_reserved_tags_without_a_name_are_refused():
    with pytest.raises(errors.PluginError, match=r"plugins are given one by one, Client\(\*plugins\)"):
        aiotrack.Client([Scrub()])
    plugin = type("Odd", (), {"aiotrack_reserved_tags": hookimpl(lambda self: {5: aiotrack.ReservedTag(int, "x")})})()
    with pytest.raises(errors.PluginError, match="a reserved tag's key must be text, got int"):
        aiotrack.Client(plugin)
