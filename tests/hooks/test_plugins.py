"""The plugin host: hooks in order, refusals in sentences, and no plugin that hurts another."""

import asyncio
import inspect
import logging
import sys
import types

import attrs
import orjson
import pytest
from support import Recorder, assert_conserved

import aiotrack
from aiotrack import errors, hookimpl
from aiotrack.hooks.hookspecs import HOOKS
from aiotrack.hooks.plugins import LISTENER_HOOKS


class Trace:
    """Appends its letter to a tag, to show the order of calls."""

    def __init__(self, letter):
        self.name = letter

    @hookimpl
    def aiotrack_process_event(self, event):
        return attrs.evolve(event, tags={**event.tags, "trace": event.tags.get("trace", "") + self.name})


async def sent_by(*plugins, tags=None, **options):
    recorder = Recorder()
    async with aiotrack.Client(recorder, *plugins, **options) as client:
        result = await client.create_user_context("u").track_event("k", tags)
        await client.flush()
        stats = assert_conserved(client)
    return [orjson.loads(entry) for entry in recorder.events], result, stats


async def test_plugins_run_in_the_order_they_were_given_unless_they_ask_for_another():
    class First(Trace):
        @hookimpl(tryfirst=True)
        def aiotrack_process_event(self, event):
            return super().aiotrack_process_event(event)

    (event,), _, _ = await sent_by(Trace("a"), Trace("b"), First("0"), Trace("c"))
    assert event["tags"]["trace"] == "0abc"


def test_a_process_hook_that_wants_the_last_word_is_told_of_the_hook_that_has_it():
    class Last:
        name = "last"

        @hookimpl(trylast=True)
        def aiotrack_process_event(self, event):
            return event

    with pytest.raises(
        errors.PluginError, match=r"plugin 'last': .* can't be trylast.* aiotrack_finalize_event has the"
    ):
        aiotrack.Client(Last())


async def test_a_module_can_be_a_plugin():
    module = types.ModuleType("my_plugin")

    @hookimpl
    def aiotrack_check_event(event):
        return "no"

    module.aiotrack_check_event = aiotrack_check_event
    _, result, _ = await sent_by(module)
    assert result.refused["recorder"].plugin == "my_plugin"
    assert str(result.refused["recorder"]) == "refused by plugin: event: no"


@pytest.mark.parametrize(
    "answer",
    [
        "no",
        ["no"],
        aiotrack.Problem("tags.a", "x", "y"),
        (aiotrack.Problem("tags.a", "x", "y"), "no"),
        (problem for problem in ["no"]),
    ],
)
async def test_any_problem_refuses_the_event(answer):
    class Check:
        @hookimpl
        def aiotrack_check_event(self, event):
            return answer

    events, result, stats = await sent_by(Check())
    assert events == []
    assert not result
    assert result.refused["recorder"].plugin == "Check"
    assert sum(stats.refused.values()) == 1


@pytest.mark.parametrize("answer", [None, [], ()])
async def test_no_problem_lets_the_event_pass(answer):
    class Check:
        @hookimpl
        def aiotrack_check_event(self, event):
            return answer

    assert (await sent_by(Check()))[1]


async def test_an_event_dropped_by_a_plugin_is_counted_under_its_name():
    class Drop:
        @hookimpl
        def aiotrack_process_event(self, event):
            return None

    events, result, stats = await sent_by(Drop())
    assert events == []
    assert result.refused["recorder"].reason == "dropped by plugin"
    assert result.refused["recorder"].plugin == "Drop"
    assert stats.plugins["Drop"].dropped == 1
    assert stats.refused == {"dropped by plugin": 1}


async def test_tags_that_a_plugin_made_are_converted_and_checked_like_a_callers():
    class Add:
        def __init__(self, **tags):
            self.tags = tags

        @hookimpl
        def aiotrack_process_event(self, event):
            return attrs.evolve(event, tags={**event.tags, **self.tags})

    (event,), _, _ = await sent_by(Add(revenue=5), tags={"revenue": 4})
    assert event["revenue"] == 5
    events, result, _ = await sent_by(Add(bad=float("nan")))
    assert events == []
    assert result.refused["recorder"].path == "tags.bad"


async def test_an_async_plugin_enriches_and_nowait_says_that_it_must_await():
    class Enrich:
        @hookimpl
        async def aiotrack_enrich_event(self, event):
            return attrs.evolve(event, tags={**event.tags, "country": "NL"})

    (event,), _, _ = await sent_by(Enrich())
    assert event["tags"] == {"country": "NL"}
    async with aiotrack.Client(Recorder(), Enrich()) as client:
        result = client.create_user_context("u").track_event_nowait("k")
        assert result.refused["recorder"].reason == "needs await"


HOOK_CALLS = [
    "aiotrack_check_event",
    "aiotrack_process_event",
    "aiotrack_event_tracked",
    "aiotrack_batch_sending",
    "aiotrack_batch_delivered",
    "aiotrack_reserved_tags",
    "aiotrack_event_schemas",
    "aiotrack_startup",
    "aiotrack_shutdown",
    "aiotrack_enrich_event",
]


@pytest.mark.parametrize("hook", HOOK_CALLS)
async def test_a_plugin_that_raises_is_named_and_counted_and_stops_nothing(hook, caplog):
    if inspect.iscoroutinefunction(HOOKS[hook]):

        async def broken(*_):
            raise KeyError("secret-value")
    else:

        def broken(*_):
            raise KeyError("secret-value")

    names = inspect.signature(HOOKS[hook]).parameters
    namespace: dict = {"broken": broken}
    colour = "async " if inspect.iscoroutinefunction(HOOKS[hook]) else ""
    wait = "await " if colour else ""
    source = f"{colour}def {hook}(self, {', '.join(names)}): return {wait}broken()"
    exec(source, namespace)  # noqa: S102 - a function with the hook's own arguments
    plugin = type("Broken", (), {hook: hookimpl(namespace[hook])})()
    heard = []

    class Neighbour:
        @hookimpl
        def aiotrack_event_tracked(self, event):
            heard.append(event)

    events, result, stats = await sent_by(plugin, Neighbour(), Trace("n"))
    assert result
    assert [event["tags"] for event in events] == [{"trace": "n"}]
    assert len(heard) == 1
    # The trace plugin changes the tags, so they are checked again; shutdown comes after the snapshot.
    assert stats.plugins["Broken"].errors == {"aiotrack_check_event": 2, "aiotrack_shutdown": 0}.get(hook, 1)
    (record,) = [record for record in caplog.records if "Broken" in record.message]
    assert record.levelno == logging.ERROR
    assert hook in record.message
    assert "KeyError" in record.message
    assert "secret-value" not in caplog.text


async def test_strict_raises_what_a_plugin_raised():
    class Broken:
        @hookimpl
        def aiotrack_check_event(self, event):
            raise KeyError("why")

    async with aiotrack.Client(Recorder(), Broken(), strict=True) as client:
        with pytest.raises(errors.PluginError, match="'Broken' raised KeyError in aiotrack_check_event") as caught:
            await client.create_user_context("u").track_event("k")
        assert isinstance(caught.value.__cause__, KeyError)


def plugin_with(name, function):
    return type("P", (), {name: function})()


async def anasync(self, event):
    return None


def sync(self, client):
    return None


BAD_PLUGINS = {
    "misspelt": (plugin_with("aiotrack_event_trackd", hookimpl(lambda self, event: None)), "aiotrack_event_tracked"),
    "misspelt specname": (
        plugin_with("x", hookimpl(specname="aiotrack_event_trackd")(lambda self, event: None)),
        "no hook 'aiotrack_event_trackd'",
    ),
    "async for sync": (plugin_with("aiotrack_check_event", hookimpl(anasync)), "must be a plain `def`"),
    "sync for async": (plugin_with("aiotrack_startup", hookimpl(sync)), "must be a plain `async def`"),
    "no marker": (plugin_with("aiotrack_check_event", lambda self, event: None), "lacks the marker"),
    "unknown argument": (
        plugin_with("aiotrack_check_event", hookimpl(lambda self, evnt: None)),
        "'evnt'",
    ),
    "wrapper": (
        plugin_with("aiotrack_check_event", hookimpl(wrapper=True)(lambda self, event: (yield))),
        "can't be a wrapper",
    ),
    "class": (Trace, r"give an instance, Trace\(\)"),
    "no hooks": (object(), "implements no aiotrack hook"),
}


@pytest.mark.parametrize(("plugin", "sentence"), BAD_PLUGINS.values(), ids=BAD_PLUGINS)
def test_a_plugin_that_cannot_work_is_refused_with_a_sentence(plugin, sentence):
    with pytest.raises(errors.PluginError, match=sentence):
        aiotrack.Client(plugin)


def test_the_same_plugin_twice_is_refused_and_two_of_a_kind_get_names_of_their_own():
    trace = Trace("a")
    with pytest.raises(errors.PluginError, match="'a' is given twice"):
        aiotrack.Client(trace, trace)
    client = aiotrack.Client(Trace("a"), Trace("a"))
    assert list(client.stats().plugins) == ["tags", "a", "a-2"]


async def test_two_destinations_of_one_name_are_refused():
    with pytest.raises(errors.ConfigError, match="two destinations are called 'recorder': give one another name="):
        aiotrack.Client(Recorder(), Recorder())
    aiotrack.Client(Recorder(), Recorder(name="blocked"), block=["blocked"])

    class Brings:
        @hookimpl
        def aiotrack_destination(self):
            return Recorder()

    client = aiotrack.Client(Recorder(), Brings())
    with pytest.raises(errors.PluginError, match="two destinations are called 'recorder'"):
        await client.start()


def test_a_blocked_name_that_no_plugin_has_is_warned_of(caplog):
    aiotrack.Client(Recorder(), block=["recordre"])
    assert "block: there is no plugin 'recordre' to leave out; did you mean 'recorder'?" in caplog.text
    caplog.clear()
    aiotrack.Client(Recorder(), block=["recorder", "tags"])
    aiotrack.Client(Recorder(), block=["log"], autoload=True)
    assert "block:" not in caplog.text


async def test_what_is_not_a_destination_is_refused_at_start():
    class Wrong:
        @hookimpl
        def aiotrack_destination(self):
            return "http://example.org"

    with pytest.raises(errors.PluginError, match="must return a Destination, got str"):
        await aiotrack.Client(Wrong()).start()


async def test_the_built_in_plugin_can_be_blocked_by_name():
    (event,), _, stats = await sent_by(tags={"revenue": 5}, block=["tags"])
    assert "revenue" not in event
    assert "tags" not in stats.plugins


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Three distributions with entry points, as pip would have installed them."""

    def install(name, source):
        (tmp_path / f"{name}.py").write_text(source)
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[aiotrack]\n{name}-ep = {name}\n")

    good = "import aiotrack\n@aiotrack.hookimpl\ndef aiotrack_check_event(event): return 'checked'\n"
    install("ep_good", good)
    install("ep_broken", "raise ImportError('half installed')\n")
    install("ep_wrong", "import aiotrack\n@aiotrack.hookimpl\nasync def aiotrack_check_event(event): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in ("ep_good", "ep_broken", "ep_wrong"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("installed")
async def test_installed_plugins_are_loaded_on_request_and_a_broken_one_is_left_out(caplog):
    assert "ep_good-ep" not in aiotrack.Client(Recorder()).stats().plugins
    client = aiotrack.Client(Recorder(), autoload=True)
    plugins = client.stats().plugins
    assert plugins["ep_good-ep"].errors == 0
    assert plugins["ep_broken-ep"].errors == 1
    assert plugins["ep_wrong-ep"].errors == 1
    assert "ep_broken-ep" in caplog.text
    with pytest.raises(errors.PluginError, match="can't be loaded"):
        aiotrack.Client(Recorder(), autoload=True, strict=True)


@pytest.mark.usefixtures("installed")
async def test_a_plugin_that_is_given_takes_the_place_of_an_installed_one():
    import ep_good  # noqa: PLC0415 - the fixture made it

    given = Trace("ep_good-ep")
    stats = aiotrack.Client(Recorder(), given, autoload=True).stats()
    assert [name for name in stats.plugins if name.startswith("ep_good")] == ["ep_good-ep"]
    assert (await sent_by(given, autoload=True, tags={}))[0][0]["tags"] == {"trace": "ep_good-ep"}
    client = aiotrack.Client(Recorder(), ep_good, autoload=True)  # the same one, under the module's name
    assert client.stats().plugins["ep_good-ep"].errors == 1
    with pytest.raises(errors.PluginError, match="'ep_good-ep' can't be loaded: plugin 'ep_good-ep' is given twice"):
        aiotrack.Client(Recorder(), ep_good, autoload=True, strict=True, block=["ep_broken-ep", "ep_wrong-ep"])


@pytest.mark.usefixtures("installed")
async def test_a_blocked_plugin_is_not_even_imported():
    client = aiotrack.Client(Recorder(), autoload=True, strict=True, block=["ep_broken-ep", "ep_wrong-ep"])
    assert "ep_good-ep" in client.stats().plugins
    assert "ep_broken" not in sys.modules
    assert "ep_wrong" not in sys.modules


async def test_a_listener_can_come_and_go_at_any_time():
    heard = []
    async with aiotrack.Client(Recorder(), batch_size=1) as client:
        user = client.create_user_context("u")
        remove = client.on("aiotrack_event_tracked", heard.append)
        remove_batch = client.on(
            "aiotrack_batch_delivered", lambda batch, answer: heard.append((len(batch), str(answer)))
        )
        await user.track_event("one")
        await client.flush()
        remove()
        remove()
        remove_batch()
        await user.track_event("two")
        await client.flush()
    assert [heard[0].key, heard[1]] == ["one", (1, "ok")]
    assert len(heard) == 2


async def test_a_listener_hears_refusals_and_never_a_refused_event_as_tracked():
    tracked, refused = [], []
    async with aiotrack.Client(Recorder()) as client:
        client.on("aiotrack_event_tracked", tracked.append)
        client.on("aiotrack_event_refused", lambda event, refusal: refused.append((event.key, refusal.reason)))
        await client.create_user_context("u").track_event("", {})
    assert tracked == []
    assert refused == [("", "invalid event")]


async def test_what_a_listener_does_cannot_change_what_is_sent():
    recorder = Recorder()
    async with aiotrack.Client(recorder) as client:
        client.on("aiotrack_event_tracked", lambda event: event.tags.update(a=2))
        await client.create_user_context("u").track_event("k", {"a": 1})
    assert orjson.loads(recorder.events[0])["tags"] == {"a": 1}


@pytest.mark.parametrize(
    ("hook", "callback", "sentence"),
    [
        ("aiotrack_check_event", print, "not a listener hook: it belongs in a plugin"),
        ("aiotrack_event_traked", print, "did you mean 'aiotrack_event_tracked'"),
        ("aiotrack_event_tracked", anasync, "takes a plain function, got an async function"),
        ("aiotrack_event_tracked", 5, "takes a plain function, got a value of type int"),
    ],
)
def test_a_listener_that_cannot_work_is_refused_with_a_sentence(hook, callback, sentence):
    with pytest.raises(errors.PluginError, match=sentence):
        aiotrack.Client().on(hook, callback)


def test_every_listener_hook_is_a_hook():
    assert set(LISTENER_HOOKS) < set(HOOKS)


async def test_a_plugin_adds_reserved_tags_and_schemas():
    class Plan:
        @hookimpl
        def aiotrack_reserved_tags(self):
            return {"qty": aiotrack.ReservedTag(int, "a number", place="quantity")}

        @hookimpl
        def aiotrack_event_schemas(self):
            class NeedsSku:
                def check(self, tags):
                    return [] if "sku" in tags else [aiotrack.Problem("tags.sku", "a str", "nothing")]

            return {"k": NeedsSku()}

    (event,), _, _ = await sent_by(Plan(), tags={"qty": "3", "sku": "a"})
    assert event["quantity"] == 3
    events, result, _ = await sent_by(Plan(), tags={})
    assert events == []
    assert str(result.refused["recorder"]) == "invalid tag: tags.sku: expected a str, got nothing"


def test_a_reserved_tag_cannot_take_an_events_own_field():
    class Plan:
        @hookimpl
        def aiotrack_reserved_tags(self):
            return {"user_id": aiotrack.ReservedTag(str, "text")}

    with pytest.raises(errors.ConfigError, match="its place is an event's own field"):
        aiotrack.Client(Plan())


async def test_the_tasks_of_a_plugin_are_owned_by_the_client_and_end_with_it(caplog):
    ended = []

    class Worker:
        @hookimpl
        async def aiotrack_startup(self, client):
            async def forever():
                try:
                    await asyncio.Event().wait()
                finally:
                    ended.append("forever")

            async def fails():
                raise KeyError("secret-value")

            client.spawn(forever(), name="my worker")
            client.spawn(fails(), name="my failure")

    async with aiotrack.Client(Recorder(), Worker()):
        assert "my worker" in {task.get_name() for task in asyncio.all_tasks()}
        await asyncio.sleep(0)
    assert ended == ["forever"]
    assert "task 'my failure' failed with KeyError" in caplog.text
    assert "secret-value" not in caplog.text
