"""For pytest, loaded by itself where aiotrack is installed: `tracked`, `collector`, `frozen_clock`, and two guards.

No event leaves a test run: a destination that would send to another machine is replaced, under its name, by
one that keeps what it is sent. `@pytest.mark.aiotrack(network=True)`, or `aiotrack_network = true` in the ini
file, lets them send; "none" holds this machine's own servers back, too. A client that a test started and nobody closed
fails that test, unless it is marked `@pytest.mark.aiotrack(leaks=True)`. `-p no:aiotrack` switches all of this off.

The library itself is imported when a test does it, and not before.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any, cast, get_args

import pytest

from aiotrack.testing.import_hook import when_imported
from aiotrack.testing.session import Network, TestSession, activate

if TYPE_CHECKING:
    from aiotrack.testing import Collector, ManualClock, Tracked

__all__ = ["collector", "frozen_clock", "tracked"]

MARKER = "aiotrack(network=False, leaks=False): let events leave to other machines; let the test leave a client open"
SESSION = pytest.StashKey[TestSession]()
UNDO = pytest.StashKey[Callable[[], None]]()
NETWORKS: dict[object, Network] = {True: "all", False: "local", "true": "all", "false": "local"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the ini option."""
    text = "where events may leave the test run to: true (anywhere), false (this machine), none (nowhere)"
    parser.addini("aiotrack_network", text, default="false")


def pytest_configure(config: pytest.Config) -> None:
    """See every client from now on."""
    config.addinivalue_line("markers", MARKER)
    _network(config.getini("aiotrack_network"), "aiotrack_network")
    config.stash[SESSION] = session = TestSession()
    config.stash[UNDO] = _install(session)


def _install(session: TestSession) -> Callable[[], None]:
    """Have a session see every client, once there can be any; return what ends that."""
    before = activate(session)  # of the run that runs this one
    forget = when_imported("aiotrack.client", lambda: importlib.import_module("aiotrack.testing.patches"))

    def undo() -> None:
        forget()
        activate(before)

    return undo


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave clients alone."""
    if UNDO in config.stash:  # not when configuring failed
        config.stash[UNDO]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    """Note what this test asks for, and listen from before its first fixture."""
    session = item.config.stash[SESSION]
    asked = _asked(item, "network")
    ini = item.config.getini("aiotrack_network")
    session.network = _network(ini if asked is None else asked, item.nodeid)
    session.shared = False
    if "tracked" in getattr(item, "fixturenames", ()):
        session.listening()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, Any, Any]:
    """A client that belongs to a fixture of a wider scope is no leak of the test that happens to be the first."""
    session = request.config.stash[SESSION]
    before, session.shared = session.shared, session.shared or fixturedef.scope != "function"
    try:
        return (yield)
    finally:
        session.shared = before


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    """Fail a test that leaves a client open."""
    session = item.config.stash[SESSION]
    try:
        yield
    finally:
        leaked = session.leaked()
        session.stop_listening()
        session.shared = True  # what starts between two tests is nobody's leak
    if leaked and not _asked(item, "leaks"):
        pytest.fail(f"{'; '.join(leaked)}: `async with client`, or `await client.aclose()`", pytrace=False)


def _asked(item: pytest.Item, word: str) -> Any:
    for marker in item.iter_markers("aiotrack"):
        unknown = marker.kwargs.keys() - {"network", "leaks"}
        if marker.args or unknown:
            raise pytest.UsageError(f"{item.nodeid}: the marker is {MARKER}; got {marker.args or sorted(unknown)}")
        if word in marker.kwargs:
            return marker.kwargs[word]
    return None


def _network(value: object, where: str) -> Network:
    """Read where events may leave to."""
    word = value.strip().lower() if isinstance(value, str) else value
    network = NETWORKS.get(word, word)
    if network not in get_args(Network):
        raise pytest.UsageError(f"{where}: aiotrack's network is true, false or none, got {value!r}")
    return cast(Network, network)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what did not leave."""
    kept = config.stash[SESSION].kept() if SESSION in config.stash else {}
    if kept:
        terminalreporter.section("aiotrack: nothing left this test run")
        for what, count in kept.items():
            terminalreporter.line(f"{what}: {count} events stayed here; @pytest.mark.aiotrack(network=True) sends them")


@pytest.fixture
def tracked(pytestconfig: pytest.Config) -> Tracked:
    """What all clients track during the test: `tracked.one("purchase", revenue=4200)`."""
    return pytestconfig.stash[SESSION].listening()


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A real HTTP server on loopback whose answers are scripted: `HTTPDestination(collector.url)`."""
    from aiotrack.testing import Collector  # noqa: PLC0415 - only tests that ask for it pay for aiohttp

    with Collector().in_a_thread() as running:
        yield running


@pytest.fixture
def frozen_clock(pytestconfig: pytest.Config) -> Iterator[ManualClock]:
    """The clock of all clients that are made during the test and bring none; it stands still until it is moved."""
    from aiotrack.testing import ManualClock  # noqa: PLC0415 - see above

    session = pytestconfig.stash[SESSION]
    session.frozen = clock = ManualClock()
    yield clock
    session.frozen = None
