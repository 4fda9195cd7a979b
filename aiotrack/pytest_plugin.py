"""For pytest, loaded by itself where aiotrack is installed: `tracked`, `collector`, `frozen_clock`, and two guards.

No event leaves a test run: a destination that would send to another machine is replaced, under its name, by
one that keeps what it is sent. `@pytest.mark.aiotrack(network=True)`, or `aiotrack_network = true` in the ini
file, lets them send. A client that a test started and nobody closed fails that test, unless it is marked
`@pytest.mark.aiotrack(leaks=True)`. `-p no:aiotrack` switches all of this off.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import pytest

from aiotrack import observer
from aiotrack.observer import Observer
from aiotrack.testing import Collector, ManualClock, Tracked
from aiotrack.testing.watch import Watch

__all__ = ["collector", "frozen_clock", "tracked"]

MARKER = "aiotrack(network=False, leaks=False): let events leave to other machines; let the test leave a client open"
WATCH = pytest.StashKey[Watch]()
BEFORE = pytest.StashKey[Observer | None]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the ini option."""
    parser.addini("aiotrack_network", "let events leave the test run to other machines", type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    """Watch every client from now on."""
    config.addinivalue_line("markers", MARKER)
    config.stash[BEFORE] = observer.current  # of the run that runs this one
    config.stash[WATCH] = observer.current = Watch()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave clients alone."""
    if BEFORE in config.stash:  # not when configuring failed
        observer.current = config.stash[BEFORE]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    """Note what this test asks for, and listen from before its first fixture."""
    watch = item.config.stash[WATCH]
    watch.network = _asked(item, "network") or item.config.getini("aiotrack_network")
    watch.wide = False
    if "tracked" in getattr(item, "fixturenames", ()):
        watch.listen(Tracked())
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, Any, Any]:
    """A client that belongs to a fixture of a wider scope is no leak of the test that happens to be the first."""
    watch = request.config.stash[WATCH]
    before, watch.wide = watch.wide, watch.wide or fixturedef.scope != "function"
    try:
        return (yield)
    finally:
        watch.wide = before


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    """Fail a test that leaves a client open."""
    watch = item.config.stash[WATCH]
    try:
        yield
    finally:
        leaked = watch.leaked()
        watch.stop_listening()
        watch.wide = True  # what starts between two tests is nobody's leak
    if leaked and not _asked(item, "leaks"):
        pytest.fail(f"{'; '.join(leaked)}: `async with client`, or `await client.aclose()`", pytrace=False)


def _asked(item: pytest.Item, word: str) -> bool:
    for marker in item.iter_markers("aiotrack"):
        unknown = marker.kwargs.keys() - {"network", "leaks"}
        if marker.args or unknown:
            raise pytest.UsageError(f"{item.nodeid}: the marker is {MARKER}; got {marker.args or sorted(unknown)}")
        if word in marker.kwargs:
            return bool(marker.kwargs[word])
    return False


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what did not leave."""
    kept = config.stash[WATCH].kept() if WATCH in config.stash else {}
    if kept:
        terminalreporter.section("aiotrack: nothing left this test run")
        for what, count in kept.items():
            terminalreporter.line(f"{what}: {count} events stayed here; @pytest.mark.aiotrack(network=True) sends them")


@pytest.fixture
def tracked(pytestconfig: pytest.Config) -> Tracked:
    """What all clients track during the test: `tracked.one("purchase", revenue=4200)`."""
    return pytestconfig.stash[WATCH].listening()


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A real HTTP server on loopback whose answers are scripted: `HTTPDestination(collector.url)`."""
    with Collector().in_a_thread() as running:
        yield running


@pytest.fixture
def frozen_clock(pytestconfig: pytest.Config) -> Iterator[ManualClock]:
    """The clock of all clients that are made during the test and bring none; it stands still until it is moved."""
    watch = pytestconfig.stash[WATCH]
    watch.frozen = clock = ManualClock()
    yield clock
    watch.frozen = None
