"""Which destination gets what: `only=`, `to=` and `rename=`."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap

import attrs
import orjson
import pytest
from support import Recorder, assert_conserved

import aiotrack
from aiotrack import Client, HTTPDestination, LocalStore, errors, hookimpl
from aiotrack.config import load
from aiotrack.testing import Collector, Reply


class Lane(Recorder):
    def __init__(self, name, **options):
        aiotrack.Destination.__init__(self, name=name, **options)
        self.batches, self.answers = [], []

    @property
    def keys(self):
        return [entry.split(b'"event":"')[1].split(b'"')[0].decode() for entry in self.events]


class Heard:
    def __init__(self):
        self.tracked, self.refused = [], []

    @hookimpl
    def aiotrack_event_tracked(self, event):
        self.tracked.append(event.key)

    @hookimpl
    def aiotrack_event_refused(self, event, refusal):
        self.refused.append((event.key, str(refusal)))


async def tracked(*lanes, calls, plugins=()):
    """Track as each of the calls says; return the results and the client's counters."""
    async with Client(*lanes, *plugins) as client:
        user = client.create_user_context("u", {"tenant": "acme"})
        results = [await user.track_event(key, {"n": 1}, **options) for key, options in calls]
        await client.flush()
        return results, assert_conserved(client)


# -- only= ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "only", ["purchase", ["purchase"], {"purchase", "x"}, ("purchase",), lambda e: e.key[0] == "p"]
)
async def test_a_destination_gets_only_what_it_takes_and_others_are_no_refusals(only, caplog):
    some, all_of_them, heard = Lane("some", only=only), Lane("all"), Heard()
    results, stats = await tracked(some, all_of_them, plugins=[heard], calls=[("purchase", {}), ("view", {})])
    assert [result.accepted for result in results] == [("some", "all"), ("all",)]
    assert [result.refused for result in results] == [{}, {}]
    assert (some.keys, all_of_them.keys) == (["purchase"], ["purchase", "view"])
    assert (stats.lanes["some"].routed_elsewhere, stats.lanes["all"].routed_elsewhere) == (1, 0)
    assert (stats.routed_nowhere, stats.refused, heard.refused) == (0, {}, [])
    assert caplog.text == ""


async def test_an_event_that_nobody_takes_is_routed_nowhere_and_counted(caplog):
    one, other, heard = Lane("one", only="a"), Lane("other", only="b"), Heard()
    (result,), stats = await tracked(one, other, plugins=[heard], calls=[("c", {})])
    assert not result
    assert (result.accepted, result.refused) == ((), {})
    assert await result.delivered() == aiotrack.Rejected("routed nowhere")
    assert (stats.routed_nowhere, stats.refused, heard.tracked, heard.refused) == (1, {}, [], [])
    assert caplog.text == ""


async def test_strict_does_not_raise_for_it():
    async with Client(Lane("one", only="a"), strict=True) as client:
        assert not await client.create_user_context("u").track_event("b")


async def test_a_predicate_sees_the_event_as_it_is_sent():
    class Scrub:
        @hookimpl
        def aiotrack_process_event(self, event):
            return attrs.evolve(event, tags={**event.tags, "shop": "nl"})

        @hookimpl
        def aiotrack_finalize_event(self, event):
            return attrs.evolve(event, attributes={})

    seen = []
    lane = Lane("one", only=lambda event: seen.append((event.tags, event.attributes)) or True)
    await tracked(lane, plugins=[Scrub()], calls=[("k", {})])
    assert seen == [({"n": 1, "shop": "nl"}, {})]


@pytest.mark.parametrize("raised", [KeyError("secret-value"), asyncio.CancelledError(), RecursionError()])
async def test_a_predicate_that_raises_means_no_and_is_said_once(raised, caplog):
    def only(event):
        raise raised

    lane, other = Lane("one", only=only), Lane("other")
    results, stats = await tracked(lane, other, calls=[("k", {})] * 3)
    assert [result.accepted for result in results] == [("other",)] * 3
    assert stats.lanes["one"].routed_elsewhere == 3
    assert [record.message for record in caplog.records] == [
        f"one: only= raised {type(raised).__name__}; it gets no event that this happens with"
    ]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"only": 5}, "only: expected event keys, or a function of the event, got int"),
        ({"only": []}, "only: expected event keys, or a function of the event, got list"),
        ({"only": ["a", 5]}, "only: expected event keys, or a function of the event, got list"),
        ({"only": asyncio.sleep}, "only: expected a plain function, got an async one"),
        ({"rename": ["a"]}, "rename: expected a mapping of names, got list"),
        ({"rename": {"a": 5}}, "rename: expected text for text, got str and int"),
        ({"rename": {"a": ""}}, "rename: expected text for text"),
    ],
)
@pytest.mark.parametrize(
    "make", [lambda **o: HTTPDestination("http://127.0.0.1:9", **o), lambda **o: LocalStore("x", **o)]
)
def test_a_wrong_option_is_named(options, sentence, make):
    with pytest.raises(errors.ConfigError) as caught:
        make(**options)
    assert str(caught.value).startswith(sentence)


# -- to= -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", ["acme", ["acme"], {"acme"}, iter(["acme"])])
async def test_a_call_says_which_destinations_it_is_for(to):
    acme, globex, heard = Lane("acme"), Lane("globex"), Heard()
    (result,), stats = await tracked(acme, globex, plugins=[heard], calls=[("k", {"to": to})])
    assert (result.accepted, result.refused) == (("acme",), {})
    assert (acme.keys, globex.keys) == (["k"], [])
    assert (stats.lanes["acme"].routed_elsewhere, stats.lanes["globex"].routed_elsewhere) == (0, 1)
    assert heard.tracked == ["k"]


async def test_both_count_what_a_call_says_and_what_a_destination_takes():
    acme, globex = Lane("acme", only="a"), Lane("globex")
    results, stats = await tracked(
        acme, globex, calls=[("b", {"to": "acme"}), ("a", {"to": ["acme", "globex"]}), ("a", {"to": []})]
    )
    assert [result.accepted for result in results] == [(), ("acme", "globex"), ()]
    assert stats.routed_nowhere == 2
    assert stats.refused == {}


@pytest.mark.parametrize(
    ("to", "sentence"),
    [
        ("acmee", "invalid event: to: there is no destination 'acmee'; did you mean 'acme'?"),
        (["acme", "zzz"], "invalid event: to: there is no destination 'zzz'; there are acme, globex"),
        (5, "invalid event: to: expected a destination's name or names, got int"),
        ([5], "invalid event: to: expected a destination's name or names, got one of int"),
        ([[]], "invalid event: to: expected a destination's name or names, got list"),
        ("", "invalid event: to: there is no destination ''; there are acme, globex"),
    ],
)
async def test_an_unknown_destination_refuses_the_event(to, sentence):
    acme, globex = Lane("acme"), Lane("globex")
    (result,), stats = await tracked(acme, globex, calls=[("k", {"to": to})])
    assert {str(refusal) for refusal in result.refused.values()} == {sentence}
    assert (acme.keys, globex.keys) == ([], [])
    assert stats.refused == {"invalid event": 1}


async def test_it_goes_along_with_every_way_to_track():
    class Lookup:
        @hookimpl
        async def aiotrack_enrich_event(self, event):
            await asyncio.sleep(0)
            return event

    for plugins in ([], [Lookup()]):
        acme, globex = Lane("acme"), Lane("globex")
        async with Client(acme, globex, *plugins) as client:
            user = client.create_user_context("u")
            await user.track_event("awaited", to="acme")
            await user.track_event("in time", to="acme", timeout=5)
            await asyncio.wrap_future(user.track_event_threadsafe("from a thread", to="acme"))
            await client.track_many([{"key": "many", "user_id": "u", "to": "acme"}])
            if not plugins:
                assert user.track_event_nowait("at once", to="acme")
            await client.flush()
        assert globex.keys == []
        assert acme.keys == ["awaited", "in time", "from a thread", "many", "at once"][: 5 - len(plugins)]


async def test_events_that_come_before_a_datafile_are_routed_too():
    class Unready(Lane):
        needs_catalog = True

    some, named, other = Unready("some", only="a"), Unready("named", rename={"a": "A"}), Unready("other")
    async with Client(some, named, other) as client:
        user = client.create_user_context("u")
        await user.track_event("a", to=["some", "named"])
        await user.track_event("b", to=["some", "named"])
        for lane in (some, named, other):
            lane.update_catalog(aiotrack.Catalog("1", {}))
        await client.flush()
    assert (some.keys, named.keys, other.keys) == (["a"], ["A", "b"], [])


# -- rename= -------------------------------------------------------------------------------------------


async def test_a_destination_has_its_own_names():
    names = {"purchase": "order_completed", "revenue": "amount", "a": "b", "b": "a"}
    one, other = Lane("one", rename=names), Lane("other")
    async with Client(one, other) as client:
        tags = {"revenue": 4200, "a": 1, "b": 2, "deep": {"a": [1]}, "purchase": "x"}
        event_id = (await client.create_user_context("u", {"a": 1}).track_event("purchase", tags)).event_id
        await client.flush()
    (theirs,), (plain,) = ([orjson.loads(entry) for entry in lane.events] for lane in (one, other))
    assert plain["tags"] == tags
    assert theirs["tags"] == {"amount": 4200, "b": 1, "a": 2, "deep": {"a": [1]}, "order_completed": "x"}
    assert (theirs["event"], plain["event"]) == ("order_completed", "purchase")
    assert theirs["attributes"] == plain["attributes"] == {"a": 1}
    assert theirs["event_id"] == plain["event_id"] == event_id
    assert theirs["revenue"] == plain["revenue"] == 4200


async def test_two_tags_that_become_one_are_refused_there():
    one, other = Lane("one", rename={"price": "amount"}), Lane("other")
    async with Client(one, other) as client:
        result = await client.create_user_context("u").track_event("k", {"price": 1, "amount": 2})
        assert result.accepted == ("other",)
        assert (
            str(result.refused["one"])
            == "invalid tag: tags.amount: expected one tag of that name, after rename=, got two"
        )


def test_they_can_be_configured():
    table = {"kind": "http", "url": "http://127.0.0.1:9", "only": ["purchase"], "rename": {"purchase": "order"}}
    with pytest.raises(errors.ConfigError, match=r"destinations\.main\.only: expected an array, got int"):
        Client.from_config({"destinations": {"main": {**table, "only": 5}}})
    with pytest.raises(errors.ConfigError, match=r"destinations\.main\.rename"):
        Client.from_config({"destinations": {"main": {**table, "rename": {"a": 5}}}})
    ((destination,), _) = load({"destinations": {"main": table}})
    assert destination.rename == {"purchase": "order"}
    assert destination.only(aiotrack.Event("purchase", "u"))
    assert not destination.only(aiotrack.Event("view", "u"))


# -- two tenants ---------------------------------------------------------------------------------------

TENANT = """
    import asyncio, sys
    import aiotrack

    async def main(folder, count, urls):
        destinations = [aiotrack.HTTPDestination(url, name=name) for name, url in urls.items()]
        client = aiotrack.Client(*destinations, buffer=aiotrack.FileBuffer(folder))
        await client.start()
        user = client.create_user_context("u")
        for number in range(count):
            for name in urls:
                assert await user.track_event(name, {"n": number}, to=name)
        print("committed", flush=True)
        await asyncio.sleep(60 if count else 0)
        await client.flush(20)
        await client.aclose()

    folder, count, *urls = sys.argv[1:]
    asyncio.run(main(folder, int(count), dict(url.split("=", 1) for url in urls)))
"""


@pytest.mark.parametrize("order", [["acme", "globex"], ["globex", "acme"]])
async def test_tenants_never_get_each_others_events_killed_and_restarted(order, tmp_path):
    program = [sys.executable, "-c", textwrap.dedent(TENANT), str(tmp_path)]

    statuses = [503]

    def answer(request):
        return Reply(status=statuses[0])

    async with Collector(answer=answer) as acme, Collector(answer=answer) as globex:
        collectors = {"acme": acme, "globex": globex}
        urls = [f"{name}={collectors[name].url}" for name in ("acme", "globex")]
        process = await asyncio.to_thread(subprocess.Popen, [*program, "20", *urls], stdout=subprocess.PIPE, text=True)
        assert await asyncio.to_thread(process.stdout.readline) == "committed\n"
        os.kill(process.pid, signal.SIGKILL)
        await asyncio.to_thread(process.wait)
        process.stdout.close()
        statuses[0] = 200
        for collector in collectors.values():
            collector.requests.clear()
        again = [f"{name}={collectors[name].url}" for name in order]
        await asyncio.to_thread(subprocess.run, [*program, "0", *again], check=True, timeout=60, capture_output=True)
        for name, collector in collectors.items():
            events = [event for request in collector.requests for event in request.json()]
            assert {event["event"] for event in events} == {name}
            assert sorted(event["tags"]["n"] for event in events) == list(range(20))
