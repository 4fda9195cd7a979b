"""The contracts that destinations must pass, and `check_plugin`: passed by ours, failed by what is wrong."""

import asyncio
import logging
import time

import attrs
import pytest

import aiotrack
from aiotrack import errors, hookimpl
from aiotrack.hooks.reserved_tags import Tags
from aiotrack.testing import DestinationContract, HTTPDestinationContract, check_plugin


class TestHTTPDestination(HTTPDestinationContract):
    secrets = ("token-of-the-test",)

    def make(self, url):
        return aiotrack.HTTPDestination(url, headers={"Authorization": "token-of-the-test"}, compression="gzip")


class TestLocalStore(DestinationContract):
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path):
        self.folder = tmp_path

    def make(self, url):
        return aiotrack.LocalStore(self.folder / "events.db")


class Broken(aiotrack.HTTPDestination):
    """Everything that the contract is there to find."""

    def __init__(self, url, key):
        super().__init__(f"{url}?key={key}")
        self.key = key
        self.number = 0

    def __repr__(self):
        return f"<Broken {self.key}>"

    def encode(self, event):
        self.number += 1
        return f'{{"number": {self.number}, "n": "{event.tags}"}}'

    def frame(self, entries, batch_header):
        self.number += 1
        return attrs.evolve(super().frame(entries, batch_header), headers={"X-Number": str(self.number)})

    def judge(self, answer, now):
        return aiotrack.Verdict("delivered")


@pytest.mark.parametrize(
    "test",
    [
        "test_keeps_secrets_to_itself",
        "test_encodes_an_event_before_it_is_started",
        "test_tries_again_with_the_same_bytes",
        "test_one_bad_event_costs_one",
        "test_a_batch_that_is_too_large_is_halved",
    ],
)
def test_the_contract_finds_what_is_wrong(test):
    class Contract(HTTPDestinationContract):
        secrets = ("my-key",)

        def make(self, url):
            return Broken(url, "my-key")

    with pytest.raises(AssertionError):
        getattr(Contract(), test)()


# -- check_plugin -------------------------------------------------------------------------------------


class Good:
    name = "good"

    @hookimpl
    def aiotrack_check_event(self, event):
        return [aiotrack.Problem("tags.a", "none", "one")] if "a" in event.tags else None

    @hookimpl
    def aiotrack_process_event(self, event):
        return attrs.evolve(event, tags={**event.tags, "shop": "nl"})

    @hookimpl
    async def aiotrack_enrich_event(self, event):
        await asyncio.sleep(0)
        return event if event.key != "many" else None

    @hookimpl
    def aiotrack_event_refused(self, event, refusal): ...

    @hookimpl
    def aiotrack_batch_failed(self, batch, answer): ...

    @hookimpl
    async def aiotrack_startup(self, client):
        client.spawn(asyncio.Event().wait(), name="good")


def test_a_good_plugin_passes_and_its_hooks_are_returned():
    assert check_plugin(Good()) == (
        "aiotrack_check_event",
        "aiotrack_process_event",
        "aiotrack_enrich_event",
        "aiotrack_event_refused",
        "aiotrack_batch_failed",
        "aiotrack_startup",
    )
    assert check_plugin(Tags()) == ("aiotrack_reserved_tags",)


async def test_it_works_beside_a_running_loop_and_leaves_other_clients_alone(collector):
    async with aiotrack.Client(aiotrack.HTTPDestination(collector.url)) as client:
        await client.create_user_context("u").track_event("k")
        assert check_plugin(aiotrack.HTTPDestination("https://events.example.com/in")) == ("aiotrack_destination",)
        await client.flush()
    assert len(collector.events()) == 1


def plugin_with(hook, function):
    return type("Wrong", (), {hook: hookimpl(function)})()


def leaves_a_task(self, client):
    self.task = asyncio.create_task(asyncio.Event().wait(), name="mine")


def raises(self, *_):
    raise KeyError("why")


def raises_on_odd_events(self, event, refusal):
    return event.key.upper()


async def hangs(self, event):
    await asyncio.Event().wait()


async def startup(self, client):
    leaves_a_task(self, client)


async def fails_later(self, client):
    async def fail():
        raise KeyError

    client.spawn(fail(), name="later")


class NoCheck:
    check = None


class BadCheck:
    def check(self, tags):
        return 5


WRONG = {
    "raises": ("aiotrack_event_tracked", raises, "raised KeyError in aiotrack_event_tracked"),
    "raises for refused events": (
        "aiotrack_event_refused",
        raises_on_odd_events,
        "raised AttributeError in aiotrack_event_refused",
    ),
    "raises for failed batches": ("aiotrack_batch_failed", raises, "raised KeyError in aiotrack_batch_failed"),
    "raises for catalogs": ("aiotrack_catalog_updated", raises, "raised KeyError in aiotrack_catalog_updated"),
    "slow": ("aiotrack_event_tracked", lambda self, event: time.sleep(0.06), "held the event loop up for"),
    "hangs": ("aiotrack_enrich_event", hangs, "did not answer in aiotrack_enrich_event within 2 s"),
    "no event": ("aiotrack_process_event", lambda self, event: event.tags, "must return an Event or None, got dict"),
    "no problem": ("aiotrack_check_event", lambda self, event: True, "a Problem, a text, or several, got bool"),
    "no problems": ("aiotrack_check_event", lambda self, event: [5], "must return problems, got int"),
    "no mapping": ("aiotrack_reserved_tags", lambda self: ["a"], "must return a mapping, got list"),
    "bad schema": ("aiotrack_event_schemas", lambda self: {"k": BadCheck()}, "a text, or several, got int"),
    "writes": ("aiotrack_check_event", lambda self, event: event.tags.update(a=1), "writes to event.tags"),
    "writes to attributes": (
        "aiotrack_event_tracked",
        lambda self, event: event.attributes.get("nested", {}).update(a=2),
        "writes to event.attributes",
    ),
    "writes to a field": (
        "aiotrack_process_event",
        lambda self, event: setattr(event, "user_id", "other") or event,
        "writes to event.user_id",
    ),
    "a task of its own fails": ("aiotrack_startup", fails_later, "task 'later' failed with KeyError"),
    "leaves a task": ("aiotrack_startup", startup, "task 'mine' is left behind at close"),
}


@pytest.mark.parametrize(("hook", "function", "sentence"), WRONG.values(), ids=WRONG)
def test_what_a_plugin_does_wrong_is_listed(hook, function, sentence):
    with pytest.raises(AssertionError, match=sentence) as caught:
        check_plugin(plugin_with(hook, function))
    assert str(caught.value).startswith("plugin 'Wrong':\n- ")


def test_events_of_the_authors_own_are_tracked_too():
    def only_mine(self, event):
        if event.key == "mine":
            raise KeyError

    plugin = plugin_with("aiotrack_event_tracked", only_mine)
    with pytest.raises(AssertionError, match="raised KeyError"):
        check_plugin(plugin, events=[("mine", {"a": 1})])
    check_plugin(plugin)


def test_what_can_not_be_registered_is_refused_as_by_a_client():
    with pytest.raises(errors.PluginError, match="did you mean"):
        check_plugin(plugin_with("aiotrack_event_trackd", lambda self, event: None))
    with pytest.raises(errors.PluginError, match=r"the schema of 'k' must have check\(tags\), got NoCheck"):
        check_plugin(plugin_with("aiotrack_event_schemas", lambda self: {"k": NoCheck()}))
    with pytest.raises(errors.PluginError, match="must be a ReservedTag, got type"):
        check_plugin(plugin_with("aiotrack_reserved_tags", lambda self: {"a": int}))


def test_a_log_that_is_off_hides_nothing(monkeypatch):
    monkeypatch.setattr(logging.getLogger("aiotrack"), "disabled", True)
    with pytest.raises(AssertionError, match="raised KeyError in aiotrack_event_tracked"):
        check_plugin(plugin_with("aiotrack_event_tracked", raises))
    assert logging.getLogger("aiotrack").disabled


def test_a_contract_tests_the_destination_itself_and_not_what_stands_in_for_it():
    class Remote(aiotrack.HTTPDestination):
        remote = True

        async def start(self, client):
            raise KeyError

    class Contract(DestinationContract):
        def make(self, url):
            return Remote(url)

    with pytest.raises(errors.StartError, match="KeyError"):
        Contract().test_delivers_every_event_once()
