"""The pytest plugin, in test runs of its own, and `Tracked` in plain words."""

import attrs
import pytest

import aiotrack
from aiotrack.testing import Tracked
from aiotrack_optimizely import Optimizely
from aiotrack_posthog import PostHog
from aiotrack_vwo import VWO

HEAD = "import asyncio\nimport aiohttp\nimport aiotrack\nimport pytest\n\n"


@pytest.fixture
def run(pytester, monkeypatch):
    """Run a test module, with this repository's plugins; return the result."""
    pytester.makeini("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n")

    def run(source, *arguments):
        pytester.makepyfile(HEAD + source)
        start = pytester.runpytest_subprocess if "no:aiotrack" in arguments else pytester.runpytest_inprocess
        # Without the plugin that collects all garbage five times at the end of a run.
        return start("-p", "no:cacheprovider", "-p", "no:unraisableexception", *arguments)

    return run


def text(result):
    return "\n".join(result.outlines)


# -- tracked ------------------------------------------------------------------------------------------


APPLICATION = """
class Application:
    async def __aenter__(self):
        self.client = aiotrack.Client(aiotrack.HTTPDestination("https://events.example.com/in"))
        await self.client.start()
        return self

    async def __aexit__(self, *_):
        await self.client.aclose()

    async def buy(self, user, revenue):
        return await self.client.create_user_context(user, {"plan": "gold"}).track_event(
            "purchase", {"revenue": revenue, "category": "shoes"})

"""


def test_a_test_asserts_on_what_the_application_tracks_and_nothing_leaves(run):
    result = run(
        APPLICATION
        + """
async def test_shop(tracked):
    async with Application() as application:
        assert await application.buy("ann", 4200)
        await application.buy("bob", 900)
    event = tracked.one("purchase", revenue=4200)
    assert (event.user_id, event.attributes) == ("ann", {"plan": "gold"})
    tracked.one("purchase", user_id="bob")
    tracked.none("signup")
    assert len(tracked) == 2
    assert application.client.stats().lanes["http"].delivered == 2


async def test_the_next_test_starts_with_nothing(tracked):
    assert not tracked.events
"""
    )
    result.assert_outcomes(passed=2)
    assert "aiotrack: nothing left this test run" in text(result)
    assert "<HTTPDestination 'http' https://events.example.com>: 2 events stayed here" in text(result)


def test_what_was_expected_and_what_came_is_shown_word_by_word(run):
    result = run(
        APPLICATION
        + """
async def test_shop(tracked):
    async with Application() as application:
        await application.buy("ann", 4300)
        tracked.one("purchase", revenue=4200, category="shoes", coupon="X")
"""
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E*no 'purchase' with revenue=4200, category='shoes', coupon='X' was tracked; *the closest differs:",
            "E*  revenue: expected 4200, got 4300",
            "E*  coupon: expected 'X', got nothing",
        ]
    )


def test_a_client_of_a_wider_fixture_is_heard_and_is_no_leak(run):
    result = run(
        """
@pytest.fixture(scope="module")
def application():
    runner = asyncio.Runner()
    client = aiotrack.Client(aiotrack.HTTPDestination("https://events.example.com/in"))
    runner.run(client.start())
    yield lambda key: runner.run(client.create_user_context("u").track_event(key))
    runner.run(client.aclose())
    runner.close()

def test_one(application, tracked):
    application("one")
    tracked.one("one")

def test_two(application, tracked):
    application("two")
    assert [event.key for event in tracked] == ["two"]
"""
    )
    result.assert_outcomes(passed=2)


# -- guards -------------------------------------------------------------------------------------------


LEAKS = """
async def test_forgets():
    client = aiotrack.Client(aiotrack.HTTPDestination("https://events.example.com/in"), flush_interval=600)
    await client.start()
    await client.create_user_context("u").track_event("k")

def test_after():
    pass
"""


UNCLOSED = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it says so itself, too


@UNCLOSED
def test_a_client_that_nobody_closes_fails_the_test_that_leaked_it(run):
    result = run(LEAKS)
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(
        [
            "*ERROR at teardown of test_forgets*",
            "a client was started at *_leaked_it.py:9 and never closed, with 1 events pending: `async with client`, *",
        ]
    )
    assert result.ret == 1


@UNCLOSED
def test_a_test_may_leave_one_open_when_it_says_so(run):
    run(LEAKS.replace("async def", "@pytest.mark.aiotrack(leaks=True)\nasync def")).assert_outcomes(passed=2)


@UNCLOSED
def test_a_client_that_others_may_close_is_left_alone(run):
    """A marked one, one of a module's fixture that starts late, one in a thread: the next test uses them."""
    result = run(
        """
import threading

kept = {}

class Thread:
    def __init__(self):
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(5)

@pytest.fixture(scope="module")
def late():
    thread, client = Thread(), aiotrack.Client(aiotrack.HTTPDestination("https://events.example.com/in"))
    yield thread, client
    thread.run(client.aclose())

def test_one(late):
    thread, client = late
    thread.run(client.start())

def test_two(late):
    thread, client = late
    assert thread.run(client.create_user_context("u").track_event("k"))

@pytest.fixture
def broken():
    yield
    raise KeyError("why")

async def test_leaks_and_breaks(broken):
    client = aiotrack.Client(aiotrack.HTTPDestination("https://events.example.com/in"))
    await client.start()
    kept["client"] = client

def test_is_innocent():
    pass
"""
    )
    result.assert_outcomes(passed=4, errors=1)
    assert "KeyError: 'why'" in text(result)


def test_what_a_fixture_closes_is_no_leak_and_loopback_is_not_replaced(run):
    result = run(
        """
@pytest.fixture
async def client():
    async with aiotrack.Client(aiotrack.HTTPDestination("https://events.example.com/in")) as client:
        yield client

async def test_uses(client):
    assert await client.create_user_context("u").track_event("k")

async def test_sends(collector, tracked):
    collector.script(aiotrack.testing.Reply(status=503, headers={"Retry-After": "0"}))
    async with aiotrack.Client(aiotrack.HTTPDestination(collector.url)) as client:
        await client.create_user_context("u").track_event("k", {"revenue": 5})
        await client.flush()
    (event,) = collector.events()
    assert event["revenue"] == 5
    assert [request.status for request in collector.requests] == [503, 200]

def test_a_test_without_a_loop_has_the_server_too(collector):
    import urllib.request
    assert urllib.request.urlopen(urllib.request.Request(collector.url, b"[]")).status == 200
"""
    )
    result.assert_outcomes(passed=3)
    assert "1 events stayed here" in text(result)


NETWORK = """
async def test_sends():
    # The name never resolves (RFC 6761), so nothing leaves this machine here either.
    async with aiotrack.Client(aiotrack.HTTPDestination("http://nobody.invalid/"), max_retries=0) as client:
        await client.create_user_context("u").track_event("k")
        await client.flush()
        assert client.stats().total.dead == 1
"""


@pytest.mark.parametrize(
    ("source", "arguments"),
    [
        (NETWORK.replace("async def", "@pytest.mark.aiotrack(network=True)\nasync def"), []),
        (NETWORK, ["-o", "aiotrack_network=true"]),
        (NETWORK, ["-p", "no:aiotrack"]),
    ],
    ids=["a test", "a run", "without the plugin"],
)
def test_events_leave_when_somebody_asks_for_it(source, arguments, run):
    run(source, *arguments).assert_outcomes(passed=1)


def test_they_do_not_leave_otherwise_even_from_a_send_of_somebodys_own(run):
    result = run(
        NETWORK
        + """
class Mine(aiotrack.HTTPDestination):
    sent = 0

    async def send(self, batch):
        self.sent += 1
        return await super().send(batch)

async def test_counts_as_delivered():
    mine = Mine("https://events.example.com/in")
    async with aiotrack.Client(mine) as client:
        await client.create_user_context("u").track_event("k")
    assert mine.sent == 1
    assert client.stats().total.delivered == 1

async def test_a_proxy_elsewhere_is_elsewhere(collector):
    destination = aiotrack.HTTPDestination(collector.url, proxy="http://proxy.example.com:3128")
    async with aiotrack.Client(destination) as client:
        await client.create_user_context("u").track_event("k")
    assert client.stats().total.delivered == 1
    assert collector.requests == []

async def test_no_name_is_looked_up(collector):
    destination = aiotrack.HTTPDestination(collector.url)
    async with aiotrack.Client(destination):
        with pytest.raises(aiohttp.ClientConnectorError) as caught:
            await destination.session.get("http://datafiles.example.com/")
    assert "not looked up in a test run" in str(caught.value.os_error)

async def test_what_the_real_one_refuses_is_refused(tracked):
    class Picky(aiotrack.HTTPDestination):
        def encode(self, event):
            raise aiotrack.errors.EventRefused(aiotrack.Refusal("unknown event", "never heard of it"))

    cart = ["shoes"]
    other = aiotrack.HTTPDestination("https://other.example.com/", name="other")
    async with aiotrack.Client(Picky("https://events.example.com/in"), other) as client:
        result = await client.create_user_context("u").track_event("k", {"cart": cart})
        cart.clear()
    assert result.refused["http"].reason == "unknown event"
    tracked.one("k", cart=["shoes"])
"""
    )
    result.assert_outcomes(passed=4, failed=1)


def test_a_marker_that_is_misspelt_says_so(run):
    result = run("@pytest.mark.aiotrack(netwrok=True)\ndef test_a(): pass\n")
    assert "the marker is aiotrack(network=False, leaks=False)" in text(result) + "\n".join(result.errlines)
    assert result.ret != 0


# -- time ---------------------------------------------------------------------------------------------


def test_time_stands_still_for_clients_that_bring_none(run):
    result = run(
        """
async def test_time(frozen_clock, collector, tracked):
    async with aiotrack.Client(aiotrack.HTTPDestination(collector.url)) as client:
        user = client.create_user_context("u")
        await user.track_event("one")
        frozen_clock.advance(1.5)
        await collector.wait_for(1)
        await user.track_event("two")
    assert [event.timestamp for event in tracked] == [1_700_000_000_000, 1_700_000_001_500]
    own = aiotrack.testing.ManualClock(5)
    assert aiotrack.Client(clock=own).clock is own

def test_and_goes_on_afterwards():
    assert aiotrack.Client().clock.time() > 1_790_000_000
"""
    )
    result.assert_outcomes(passed=2)


# -- in plain words -----------------------------------------------------------------------------------


def tracked_events(*events):
    tracked = Tracked()
    tracked.events.extend(events)
    return tracked


ONE = aiotrack.Event("purchase", "ann", tags={"revenue": "4200", "a": 1}, reserved={"revenue": 4200})
TWO = attrs.evolve(ONE, user_id="bob", tags={"a": 2}, reserved={})


def test_a_word_is_a_tag_as_it_came_or_as_it_was_converted_or_a_field():
    tracked = tracked_events(ONE, TWO)
    assert tracked.one("purchase", revenue=4200) is ONE
    assert tracked.one("purchase", revenue="4200") is ONE
    assert tracked.one("purchase", user_id="bob") is TWO
    assert tracked.one("purchase", tags={"a": 2}) is TWO
    assert tracked.one("purchase", a=pytest.approx(2.0000001)) is TWO
    assert tracked.all("purchase") == tracked.all() == [ONE, TWO]
    assert tracked.all("purchase", a=None) == []
    tracked.none("signup")


def test_too_many_are_listed():
    with pytest.raises(AssertionError, match=r"(?s)expected one 'purchase', and 2 were tracked:\n.*'ann'.*\n.*'bob'"):
        tracked_events(ONE, TWO).one("purchase")
    with pytest.raises(AssertionError, match="expected no 'purchase' with a=2, and 1 were tracked"):
        tracked_events(ONE, TWO).none("purchase", a=2)


def test_where_there_is_none_what_there_is_is_listed_and_why_it_was_refused():
    tracked = tracked_events(ONE)
    refusal = aiotrack.Refusal.of("invalid tag", (aiotrack.Problem("tags.a", "a str", "an int"),))
    tracked.refused.append((attrs.evolve(ONE, key="signup"), refusal))
    with pytest.raises(AssertionError) as caught:
        tracked.one("signup")
    assert str(caught.value) == (
        "no 'signup' was tracked; tracked: 'purchase' x 1\n"
        "  refused: 'signup': invalid tag: tags.a: expected a str, got an int"
    )


async def test_an_event_can_be_waited_for(tracked):
    async with aiotrack.Client(aiotrack.HTTPDestination("https://events.example.com/in")) as client:

        async def soon():
            await client.create_user_context("u").track_event("later", {"n": 1})

        task = client.spawn(soon(), name="soon")
        assert (await tracked.wait_for("later", n=1)).tags == {"n": 1}
        await task
        with pytest.raises(AssertionError, match=r"after 0.01 s: no 'never' was tracked; tracked: 'later' x 1"):
            await tracked.wait_for("never", timeout=0.01)
        tracked.clear()
        assert repr(tracked) == "<Tracked: nothing>"


# -- clients that outlive a test ----------------------------------------------------------------------


MODULE_LEVEL = """
client = aiotrack.Client(aiotrack.HTTPDestination("https://events.example.com/in"))
heard = []
client.on("aiotrack_event_tracked", lambda event: heard.append(event.key))

async def lifespan():
    async with client:
        assert await client.create_user_context("ann").track_event("purchase")

"""


def test_a_client_of_a_module_is_used_by_one_lifespan_after_the_other(run):
    """Each test may start the application anew, as a new process would; the listeners stay."""
    result = run(
        MODULE_LEVEL
        + """
async def test_one(tracked):
    await lifespan()
    tracked.one("purchase")

async def test_other(tracked):
    await lifespan()
    await lifespan()
    assert len(tracked.all("purchase")) == 2
    assert heard == ["purchase"] * 3
    assert client.stats().total.accepted == 1
"""
    )
    result.assert_outcomes(passed=2)


def test_a_user_context_of_a_module_and_a_client_of_ones_own_class_last_as_long_as_the_client(run):
    result = run(
        """
class Mine(aiotrack.Client):
    def __init__(self, url):
        super().__init__(aiotrack.HTTPDestination(url))

client = Mine("https://events.example.com/in")
user = client.create_user_context("ann")

@pytest.mark.parametrize("time", range(3))
async def test_each(time, tracked):
    async with client:
        assert await user.track_event("purchase")
        assert await asyncio.wrap_future(user.track_event_threadsafe("purchase"))
        assert len(tracked.all("purchase")) == 2
"""
    )
    result.assert_outcomes(passed=3)


def test_a_destination_whose_client_outlives_the_test_asks_before_each_batch(run):
    result = run(
        """
import pytest_asyncio

class Own(aiotrack.Destination):
    kind = "own"
    remote = True
    sent = 0

    def frame(self, entries, batch_header, /):
        return aiotrack.Request(url="own:", body=b"".join(entries))

    async def send(self, batch):
        Own.sent += len(batch)
        return aiotrack.Answer()

@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client():
    async with aiotrack.Client(Own()) as client:
        yield client

@pytest.mark.aiotrack(network=True)
@pytest.mark.asyncio(loop_scope="module")
async def test_one_that_may_send(client):
    await client.create_user_context("u").track_event("k")
    await client.flush()
    assert Own.sent == 1

@pytest.mark.asyncio(loop_scope="module")
async def test_one_that_may_not(client):
    await client.create_user_context("u").track_event("k")
    await client.flush()
    assert Own.sent == 1
    assert client.stats().total.delivered == 2
"""
    )
    result.assert_outcomes(passed=2)


def test_a_client_that_a_test_makes_never_reopens(run):
    result = run(
        """
async def test_one():
    client = aiotrack.Client(aiotrack.LocalStore())
    await client.aclose()
    with pytest.raises(aiotrack.errors.ClientClosed):
        await client.start()
"""
    )
    result.assert_outcomes(passed=1)


def test_the_store_of_a_client_without_destinations_is_not_left_in_the_working_directory(run, pytester):
    result = run(
        """
import os


async def test_here(tracked):
    async with aiotrack.Client() as client:
        await client.create_user_context("u").track_event("k")
    assert client.stats().total.delivered == 1
    tracked.one("k")


async def test_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    async with aiotrack.Client() as client:
        await client.create_user_context("u").track_event("k")
    assert (tmp_path / "aiotrack.db").exists()
"""
    )
    result.assert_outcomes(passed=2)
    assert not list(pytester.path.glob("aiotrack.db*"))


# -- this machine, too --------------------------------------------------------------------------------


NOT_EVEN_HERE = """
async def test_sends(collector):
    async with aiotrack.Client(aiotrack.HTTPDestination(collector.url)) as client:
        await client.create_user_context("u").track_event("k")
    assert client.stats().total.delivered == 1
    assert collector.requests == []
"""


def test_a_run_can_hold_loopback_back_too(run):
    run(NOT_EVEN_HERE, "-o", "aiotrack_network=none").assert_outcomes(passed=1)
    run(NOT_EVEN_HERE.replace("async def", "@pytest.mark.aiotrack(network='none')\nasync def")).assert_outcomes(
        passed=1
    )
    run(NOT_EVEN_HERE).assert_outcomes(failed=1)


def test_a_network_that_is_none_of_these_is_refused(run):
    result = run(NOT_EVEN_HERE, "-o", "aiotrack_network=sometimes")
    assert "aiotrack_network: aiotrack's network is true, false or none, got 'sometimes'" in "\n".join(result.errlines)


@pytest.mark.parametrize(
    "destination",
    [
        aiotrack.HTTPDestination("https://events.example.com"),
        Optimizely(sdk_key="k"),
        VWO(1, "k"),
        PostHog("k"),
    ],
    ids=lambda destination: destination.name,
)
def test_what_goes_to_a_vendor_is_kept_here_in_a_test_run(destination):
    assert destination.remote
