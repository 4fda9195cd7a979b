"""The call: whatever it is given, and wherever it comes from."""

import asyncio
import datetime
import os
import time
from collections.abc import Mapping
from decimal import Decimal

import pytest
from support import Recorder, assert_conserved

import aiotrack
from aiotrack import Client, Delivered, Unknown, errors
from aiotrack.testing import Collector, Reply


async def accepted(client, count=1):
    user = client.create_user_context("u")
    return [await user.track_event("k", {"n": number}) for number in range(count)]


@pytest.mark.parametrize("default", [Reply(hang=True), Reply(status=503)])
async def test_receipts_asked_after_the_close_are_honest_and_do_not_hang(default):
    async with Collector(default=default) as collector:
        collector.script(Reply())
        client = Client(aiotrack.HTTPDestination(collector.url), batch_size=1)
        await client.start()
        results = await accepted(client)
        await client.flush()
        results += await accepted(client, 3)
        await client.aclose(timeout=0.3)
        receipts = [await result.delivered() for result in results]
    assert receipts == [Delivered(), Unknown(), Unknown(), Unknown()]


def test_another_loop_is_refused_at_once():
    client = Client(Recorder())
    asyncio.run(client.start())

    async def elsewhere():
        user = client.create_user_context("u")
        for call in (user.track_event("k"), client.flush(), client.aclose()):
            with pytest.raises(errors.WrongLoop):
                await call
        with pytest.raises(errors.WrongLoop):
            user.track_event_nowait("k")
        with pytest.raises(errors.WrongLoop):
            client.spawn(asyncio.sleep(0), name="t")

    asyncio.run(elsewhere())
    client._state.current = "closed"  # its loop is gone: nothing is left to warn about


async def test_another_thread_and_a_forked_child_are_refused_at_once():
    async with Client(Recorder()) as client:
        user = client.create_user_context("u")
        with pytest.raises(errors.WrongLoop):
            await asyncio.to_thread(user.track_event_nowait, "k")
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                user.track_event_nowait("k")
            except errors.WrongLoop:
                os.write(writer, b"refused")
            finally:
                os._exit(0)
        os.waitpid(pid, 0)  # noqa: ASYNC222 - it ends at once
        os.close(writer)
        with open(reader, "rb") as pipe:  # noqa: ASYNC230
            assert pipe.read() == b"refused"


class Odd(dict):
    def keys(self):
        raise RuntimeError("secret-value")

    __iter__ = items = values = keys


class OddMapping(Mapping):
    def __getitem__(self, key):
        raise RuntimeError("secret-value")

    def __iter__(self):
        raise RuntimeError("secret-value")

    def __len__(self):
        return 1


async def test_no_input_raises_into_the_caller(caplog):
    async with Client(Recorder()) as client:
        user = client.create_user_context("u")
        for call in (
            user.track_event(["k"], {"revenue": "x"}),
            user.track_event("k", OddMapping()),
            user.track_event("k", {"a": Odd(b=1)}),
            user.track_event("k", timestamp=2**70),
            client.create_user_context("u", OddMapping()).track_event("k"),
            client.create_user_context("u", {"a": Odd(b=b"1")}).track_event("k"),
            client.create_user_context("u", ip_address="\ud800").track_event("k"),
            client.track_event("k", OddMapping()),
        ):
            result = await call
            assert isinstance(result, aiotrack.TrackResult)
        assert client.stats().plugins["recorder"].errors == 0  # none of these is the destination's fault
    assert "secret-value" not in caplog.text


async def test_a_key_in_a_log_line_is_short_and_on_one_line(caplog):
    async with Client(Recorder()) as client:
        user = client.create_user_context("u")
        await user.track_event("k", {"a\nERROR forged": float("nan")})
        await user.track_event("l", {"x" * 100_000: float("nan")})
        for number in range(500):
            await user.track_event("m", {f"key {number}": float("nan")})
    assert len(caplog.records) == 31
    assert caplog.records[-1].getMessage().endswith("and others, that are only counted for a while")
    assert all("\n" not in record.getMessage() and len(record.getMessage()) < 500 for record in caplog.records)


async def test_each_refusal_of_another_event_or_place_is_a_line(caplog):
    async with Client(Recorder()) as client:
        user = client.create_user_context("u")
        for _ in range(3):
            await user.track_event("k", {"a": float("nan")})
            await user.track_event("k", {"b": float("nan")})
            await user.track_event("l", {"a": float("nan")})
            for index in range(3):
                await user.track_event("l", {"a": [1] * index + [float("nan")]})
    assert [record.getMessage().split(": expected")[0] for record in caplog.records] == [
        "event 'k' refused: invalid tag: tags.a",
        "event 'k' refused: invalid tag: tags.b",
        "event 'l' refused: invalid tag: tags.a",
        "event 'l' refused: invalid tag: tags.a[0]",
    ]


async def test_a_user_id_that_is_assigned_later_is_checked_too():
    async with Client(Recorder()) as client:
        user = client.create_user_context("anonymous")
        user.user_id = "ann"
        assert await user.track_event("k")
        user.user_id = None
        result = await user.track_event("k")
        assert result.refused["recorder"].path == "user_id"


def raising(*_args, **_options):
    raise RuntimeError("secret-value")


NoZone = type("NoZone", (datetime.tzinfo,), dict.fromkeys(("utcoffset", "dst", "tzname"), raising))
ODD = {  # by name: pytest would look into them
    "a str that lies about its class": lambda: type("L", (str,), {"__class__": property(raising)})("e"),
    "an int that can't be made one": lambda: type(
        "I", (int,), dict.fromkeys(("__int__", "__index__", "__str__"), raising)
    )(5),
    "a time in a zone that raises": lambda: datetime.datetime(2024, 1, 1, tzinfo=NoZone()),  # orjson crashes at it
    "a Decimal of a million digits": lambda: Decimal("1e1000000"),
    "a negative one": lambda: Decimal("-1e1000000"),
    "an int of 5,000 digits": lambda: 10**5000,
}


@pytest.mark.parametrize("name", ODD)
async def test_whatever_stands_anywhere_in_a_call_raises_nothing_and_takes_no_time(name):
    odd = ODD[name]()
    async with Client(Recorder()) as client:
        user = client.create_user_context("u")
        began = time.monotonic()
        results = [
            await user.track_event("k", {"a": odd}),
            await user.track_event(odd, odd, event_id=odd, timestamp=odd, to=odd, timeout=odd),
            await user.track_event("k", event_id=odd),
            await user.track_event("k", timestamp=odd),
            user.track_event_nowait("k", {"revenue": odd, "value": odd}),
            await asyncio.wrap_future(user.track_event_threadsafe("k", {"a": [odd]})),
            await client.track_event("k", odd, {"a": odd}),
            await client.create_user_context(odd, {"a": odd}, user_agent=odd, session_id=odd).track_event("k"),
            await client.create_user_context("u", {"a": odd}).track_event("k"),
            await client.load_user(odd).track_event("k"),
        ]
        many = await client.track_many([odd, {"user_id": odd, "key": odd, "tags": odd}])
        assert time.monotonic() - began < 2
        texts = [repr(result) + str(result.refused) for result in [*results, many]]
        assert not [text for text in texts if "secret-value" in text]
        await client.flush()
        assert_conserved(client)


async def test_what_a_context_holds_is_plain_text_and_numbers():
    class Text(str):
        pass

    class Number(int):
        pass

    async with Client(Recorder()) as client:
        user = client.create_user_context(Text("u"), user_agent=Text("a"), ip_address=Text("b"), session_id=Number(5))
        other = client.create_user_context("u", session_id=Text("s"))
    assert [type(one) for one in (user.user_id, user.user_agent, user.ip_address, user.session_id)] == [
        str,
        str,
        str,
        int,
    ]
    assert type(other.session_id) is str
