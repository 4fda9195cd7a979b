"""Every line, of a real client's life; and that no line holds a payload."""

import logging

import pytest

import aiotrack
from aiotrack import errors
from aiotrack.testing import Reply, check_plugin, until
from aiotrack_log import EventLog, plugin


class Refuses:
    @aiotrack.hookimpl
    def aiotrack_check_event(self, event):
        return "no" if event.key == "secret-key" else None


async def life(collector, clock, *plugins, every=60.0):
    collector.script(Reply(status=400))
    destination = aiotrack.HTTPDestination(collector.url)
    options = {"clock": clock, "flush_interval": 600, "block": ["tags"]}
    async with aiotrack.Client(EventLog(every=every), destination, *plugins, **options) as client:
        user = client.create_user_context("secret-user", {"secret": "attribute"}, ip_address="203.0.113.77")
        await user.track_event("one", {"secret": "tag"}, event_id="id-1")
        await client.flush()
        await user.track_event("two", event_id="id-2")
        await user.track_event("secret-key")
        await client.flush()
        destination.update_catalog(aiotrack.Catalog("42", {"one": 1, "two": 2}))
        clock.advance(60)


async def test_every_step_is_a_line(collector, frozen_clock, caplog):
    caplog.set_level(logging.DEBUG, "aiotrack.log")
    await life(collector, frozen_clock, Refuses())
    counters = "up, 2 accepted, 1 delivered, 1 dead, 0 dropped, 0 pending, 0 retries"
    lines = [(r.levelname, r.message) for r in caplog.records if r.name == "aiotrack.log"]
    assert lines[0][1].startswith(f"aiotrack {aiotrack.__version__} starts; destinations: ")
    assert [(level, text) for level, text in lines[1:] if " bytes, " not in text] == [
        ("DEBUG", "'one' tracked: 'id-1'"),
        ("DEBUG", "http: a request with 1 events failed (HTTP 400), attempt 1"),
        ("DEBUG", "http: 1 lost (HTTP 400)"),
        ("DEBUG", "'two' tracked: 'id-2'"),
        ("DEBUG", "'secret-key' refused by all: refused by plugin"),
        ("DEBUG", "http: 1 events delivered (HTTP 200)"),
        ("INFO", "http: revision 42, 2 events"),
        ("INFO", f"http, so far: {counters}"),
        ("INFO", "refused, so far: 1 refused by plugin"),
        ("INFO", f"http, closed: {counters}"),
        ("INFO", "refused, closed: 1 refused by plugin"),
    ]
    sending = [text for _, text in lines if " bytes, " in text]
    assert [text.partition(", ")[0] for text in sending] == ["http: sends 1 events"] * 2


async def test_no_line_holds_a_payload(collector, frozen_clock, caplog):
    caplog.set_level(logging.DEBUG, "aiotrack.log")
    await life(collector, frozen_clock)
    for secret in ("secret-user", "attribute", "tag", "203.0.113.77"):
        assert secret not in "".join(record.message for record in caplog.records if record.name == "aiotrack.log")


async def test_counters_come_again_and_again_and_end_with_the_client(collector, frozen_clock, caplog):
    caplog.set_level(logging.INFO, "aiotrack.log")
    log = EventLog(every=10)
    async with aiotrack.Client(log, aiotrack.HTTPDestination(collector.url)) as client:
        for _ in range(3):
            frozen_clock.advance(10)
        assert caplog.text.count("http, so far:") == 3
        await client.aclose()
    frozen_clock.advance(100)
    assert caplog.text.count("http, so far:") == 3
    assert frozen_clock.next_timer is None


async def test_one_instance_serves_several_clients(collector, frozen_clock, caplog):
    caplog.set_level(logging.INFO, "aiotrack.log")
    async with (
        aiotrack.Client(plugin, aiotrack.HTTPDestination(collector.url, name="a")),
        aiotrack.Client(plugin, aiotrack.HTTPDestination(collector.url, name="b")),
    ):
        frozen_clock.advance(60)
        await until(lambda: "a, so far" in caplog.text and "b, so far" in caplog.text)


async def test_without_counters_there_is_no_timer(collector, frozen_clock):
    async with aiotrack.Client(EventLog(every=None), aiotrack.HTTPDestination(collector.url)):
        assert frozen_clock.next_timer is None


def test_it_is_found_when_it_is_installed():
    assert "log" in aiotrack.Client(autoload=True).stats().plugins
    assert "log" not in aiotrack.Client(autoload=True, block=["log"]).stats().plugins


def test_it_is_a_good_plugin():
    assert len(check_plugin(EventLog())) == 9


@pytest.mark.parametrize("every", [0, -1, True, "60"])
def test_a_bad_option_is_named(every):
    with pytest.raises(errors.ConfigError, match="every: expected seconds > 0, got"):
        EventLog(every=every)


async def test_the_last_line_is_that_of_the_end(collector, caplog):
    caplog.set_level(logging.INFO, "aiotrack.log")
    async with aiotrack.Client(EventLog(), aiotrack.HTTPDestination(collector.url)) as client:
        await client.create_user_context("u").track_event("one")
    lines = [record.message for record in caplog.records if record.name == "aiotrack.log"]
    assert lines[-1] == "http, closed: up, 1 accepted, 1 delivered, 0 dead, 0 dropped, 0 pending, 0 retries"


async def test_values_are_shown_where_they_are_asked_for(collector, caplog):
    caplog.set_level(logging.DEBUG, "aiotrack.log")
    async with aiotrack.Client(EventLog(values=True), Refuses(), aiotrack.HTTPDestination(collector.url)) as client:
        user = client.create_user_context("ann", {"plan": "gold"})
        await user.track_event("one", {"n": "a\nb\x1b[31m"}, event_id="id-1")
        await user.track_event("secret-key", {"n": 2})
    shown = "user 'ann', tags {'n': 2}, attributes {'plan': 'gold'}"
    assert f"'secret-key' refused by all: refused by plugin; {shown}" in caplog.text
    (line,) = (record.message for record in caplog.records if "'one' tracked" in record.message)
    assert line.isprintable()
    assert "user 'ann', tags {'n': 'a" in line


async def test_every_line_is_one_line_whatever_names_hold(collector, caplog):
    caplog.set_level(logging.DEBUG, "my.own")
    destination = aiotrack.HTTPDestination(collector.url, name="a\nb\x1b[31m")
    async with aiotrack.Client(EventLog(logger="my.own"), destination) as client:
        await client.create_user_context("u").track_event("one\ntwo", event_id="id\u2028")
        destination.update_catalog(aiotrack.Catalog("4\n2", {}))
    lines = [record.getMessage() for record in caplog.records if record.name == "my.own"]
    assert len(lines) >= 5
    assert all(line.isprintable() for line in lines)
    logging.getLogger("my.own").info("mine\nis as it was")
    assert caplog.records[-1].getMessage() == "mine\nis as it was"
