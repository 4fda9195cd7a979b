"""What a readiness probe is told."""

import asyncio
import json
import os

import attrs
import pytest
from support import Recorder

from aiotrack import Answer, Catalog, Client, HealthStatus, MemoryBuffer
from aiotrack.testing import ManualClock, until


class Server(Recorder):
    def __init__(self, name):
        super().__init__(name=name)
        self.answer = Answer()

    async def send(self, batch):
        await asyncio.sleep(0)
        return self.answer


class Vendor(Server):
    needs_catalog = True


async def test_a_life_as_a_probe_sees_it():
    client = Client(Recorder())
    assert not client.health()
    assert client.health().reasons == ("the client is new",)
    async with client:
        assert client.health()
        assert (client.health().status, client.health().reasons) == (HealthStatus.OK, ())
        from_a_thread = await asyncio.to_thread(client.health)
        assert from_a_thread.status == "ok"
    assert (client.health().status, client.health().reasons) == ("failing", ("the client is closed",))
    json.dumps(attrs.asdict(client.health()))


async def test_an_outage_of_one_destination_is_named_and_stops_no_service():
    clock, good, bad = ManualClock(), Server("good"), Server("bad")
    bad.answer = Answer(status=401)
    async with Client(good, bad, flush_interval=1, clock=clock, shutdown_timeout=0.1) as client:
        await client.create_user_context("u").track_event("k")
        clock.advance(1)
        await until(lambda: client.stats().lanes["bad"].state == "paused")
        clock.advance(30)
        health = client.health()
        assert health
        assert health.status == "degraded"
        (reason,) = health.reasons
        assert reason.startswith("bad is paused: a batch of 1 failed (HTTP 401)")
        assert reason.endswith("; 1 events wait, the oldest for 31 s")
        bad.answer = Answer()
        await client.flush(5)
        assert client.health().status == "ok"


async def test_a_lane_without_its_document_is_named():
    vendor = Vendor("vendor")
    async with Client(vendor, Server("other"), shutdown_timeout=0.1) as client:
        await client.create_user_context("u").track_event("k")
        assert client.health().reasons == ("vendor has no datafile or settings document yet; 1 events wait for it",)
        vendor.update_catalog(Catalog("1", {"k": 1}))
        assert client.health().status == "ok"


@pytest.mark.parametrize(("overflow", "status"), [("drop_newest", "failing"), ("drop_oldest", "degraded")])
async def test_a_full_buffer_is_named_until_there_is_room(overflow, status):
    server = Server("server")
    server.answer = Answer(status=503)
    options = {"overflow": overflow, "clock": ManualClock(), "shutdown_timeout": 0.1}
    async with Client(server, buffer=MemoryBuffer(1000), **options) as client:
        for _ in range(20):
            await client.create_user_context("u").track_event("k")
        health = client.health()
        assert (health.status, health.reasons[0]) == (status, "server: its buffer is full")
        server.answer = Answer()
        await client.flush(5)
        assert client.health().status == "ok"


async def test_one_full_buffer_of_two_is_no_failure():
    server = Server("server")
    server.answer = Answer(status=503)
    options = {"overflow": "drop_newest", "clock": ManualClock(), "shutdown_timeout": 0.1}
    async with Client(server, Server("other"), buffer=MemoryBuffer(1000), batch_size=1, **options) as client:
        for _ in range(20):
            await client.create_user_context("u").track_event("k")
            await asyncio.sleep(0)
        health = client.health()
        assert (health.status, health.reasons[0]) == ("degraded", "server: its buffer is full")


def test_a_client_whose_loop_does_not_run_is_failing():
    loop, client = asyncio.new_event_loop(), Client(Recorder())
    try:
        loop.run_until_complete(client.start())
        assert client.health().reasons == ("the client's event loop does not run",)
        loop.run_until_complete(client.aclose())
    finally:
        loop.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
async def test_a_forked_childs_copy_is_failing():
    async with Client(Recorder()) as client:
        child = os.fork()
        if not child:
            os._exit(
                7 if client.health().reasons == ("the client is another process's, and this is a fork of it",) else 1
            )
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        assert os.waitstatus_to_exitcode(status) == 7
