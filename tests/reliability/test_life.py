"""How programs end and multiply: forgotten closes, exits, signals, forks, servers. Nothing in a file is lost."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import aiohttp
import pytest
import uvloop
from support import assert_conserved

import aiotrack
from aiotrack.testing import Collector, Reply

HERE = Path(__file__).parent


async def run(name, folder, url, *, returns=0):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "always", HERE / "programs.py", name, folder, url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == returns, (process.returncode, errors.decode()[-3000:])
    return output.decode(), errors.decode()


async def drain(folder, url):
    async with aiotrack.Client(aiotrack.HTTPDestination(url), buffer=aiotrack.FileBuffer(folder)) as client:
        await client.flush(10)
        assert assert_conserved(client).total.pending == 0


def received(collector):
    return Counter((event["user_id"], event["event"], event["tags"]["n"]) for event in collector.events())


EXPECTED = {("u", "k", n): 1 for n in range(130)}


@pytest.mark.parametrize(
    ("name", "returns"), [("forgotten", 0), ("hard_exit", 0), ("exception", 1), ("sigterm", -signal.SIGTERM)]
)
async def test_a_file_keeps_what_a_program_that_ends_has_tracked(name, returns, collector, tmp_path):
    await run(name, tmp_path, collector.url, returns=returns)
    await drain(tmp_path, collector.url)
    assert received(collector) == EXPECTED


async def test_what_was_tracked_without_waiting_just_before_the_end_is_in_the_file(collector, tmp_path):
    await run("nowait_at_the_end", tmp_path, collector.url)
    await drain(tmp_path, collector.url)
    assert received(collector) == EXPECTED | {("u", "late", n): 1 for n in range(10)}


async def test_a_close_that_its_deadline_cuts_short_is_finished_before_the_process_ends(collector, tmp_path):
    """The thread that writes is a daemon: it holds up no exit for ever, but what it is writing is waited for."""
    collector.script(*[Reply(status=503)] * 5)
    await run("slow_disk_at_the_close", tmp_path, collector.url)
    await drain(tmp_path, collector.url)
    assert received(collector) == EXPECTED | {("u", "late", n): 1 for n in range(10)}


@pytest.mark.parametrize("name", ["forgotten", "exception"])
async def test_a_forgotten_close_of_a_memory_buffer_is_heard_with_the_count(name, collector):
    _, errors = await run(name, "memory", collector.url, returns=int(name == "exception"))
    assert "ResourceWarning: an aiotrack.Client was never closed, with 130 events pending" in errors


async def test_threads_that_wait_for_a_loop_that_has_ended_do_not_hold_the_program_up(tmp_path):
    began = time.monotonic()
    output, _ = await run("threads_wait", "memory", NOWHERE, returns=1)
    told = ("WrongLoop: track_event_threadsafe: ", "ClientClosed: track_event_threadsafe: ")
    assert [line.startswith(told) for line in output.splitlines()] == [True] * 3
    assert time.monotonic() - began < 10


NOWHERE = "http://127.0.0.1:9/"
INTERRUPTED = -signal.SIGINT


@pytest.mark.parametrize(
    ("name", "returns", "why"),
    [
        ("forgotten", 0, "lost with their client: nobody closed it"),
        ("exception", 1, "lost with their client: nobody closed it"),
        ("system_exit", 3, "lost with their client: nobody closed it"),
        ("interrupted", INTERRUPTED, "lost: the client was closed before they were delivered"),
        ("interrupted_twice", INTERRUPTED, "lost with their client: its close was cut short"),
        ("timeout_around_the_close", 0, "lost with their client: its close was cut short"),
    ],
)
@pytest.mark.parametrize("kind", ["memory", "spill", "file"])
async def test_however_a_program_ends_its_loss_is_one_line(kind, name, returns, why, tmp_path):
    folder = {"memory": "memory", "spill": f"spill:{tmp_path}", "file": str(tmp_path)}[kind]
    _, errors = await run(name, folder, NOWHERE, returns=returns)
    said = [line for line in errors.splitlines() if "are lost" in line]
    is_closed = "the client was closed" in why
    if kind == "file" or (kind == "spill" and is_closed):  # the file has them
        assert said == []
    else:
        assert len(said) == 1
        assert f"http: 130 events are {why}" in said[0]
        assert "FileBuffer keeps them" in said[0]


@pytest.mark.parametrize("name", ["sigterm", "sigterm_in_a_block"])
async def test_sigterm_closes_and_ends_as_it_would_have(name, collector):
    await run(name, "memory", collector.url, returns=-signal.SIGTERM)
    assert received(collector) == EXPECTED


async def test_sigterm_goes_on_to_the_handlers_that_were_there(collector):
    output, _ = await run("sigterm_with_a_handler", "memory", collector.url)
    assert "the loop's handler" in output
    assert output.index("my handler") < output.index("closed with 0 pending")
    assert received(collector) == EXPECTED


@pytest.mark.parametrize("kind", ["memory", "file"])
async def test_a_close_after_the_sender_was_cancelled_still_delivers(kind, collector, tmp_path):
    await run("cancelled_by_run", "memory" if kind == "memory" else tmp_path, collector.url)
    assert received(collector) == EXPECTED


@pytest.mark.parametrize("kind", ["memory", "file"])
async def test_a_client_in_use_survives_a_fork_and_a_child_has_its_own(kind, collector, tmp_path):
    await run("used_then_forked", "memory" if kind == "memory" else tmp_path, collector.url)
    expected = EXPECTED | {("child", "k", n): 1 for n in range(130)} | {("after", "k", n): 1 for n in range(5)}
    assert received(collector) == expected
    if kind == "file":
        assert list(tmp_path.rglob("*.seg")) == []


async def test_workers_of_multiprocessing_deliver_their_own_events(collector, tmp_path):
    await run("multiprocess", tmp_path, collector.url)
    assert received(collector) == EXPECTED | {("child", "k", n): 4 for n in range(130)}
    assert len({event["event_id"] for event in collector.events()}) == 130 * 5


def test_uvloop_and_repeated_loops_with_a_file(tmp_path):
    async def main(user):
        async with Collector() as collector:
            buffer = aiotrack.FileBuffer(tmp_path)
            async with aiotrack.Client(aiotrack.HTTPDestination(collector.url), buffer=buffer) as client:
                context = client.create_user_context(user)
                assert all(await asyncio.gather(*(context.track_event("k", {"n": n}) for n in range(20))))
                process = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
                assert await process.wait() == 0
            assert assert_conserved(client).total.delivered == 20
            return len(collector.events())

    before = len(os.listdir("/proc/self/fd"))
    for number in range(5):
        assert uvloop.run(main(f"uv{number}")) == 20
        assert asyncio.run(main(f"std{number}")) == 20
    assert len(os.listdir("/proc/self/fd")) <= before + 2


APP = """
import os
from contextlib import asynccontextmanager
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
import aiotrack

client = aiotrack.Client(aiotrack.HTTPDestination({url!r}), buffer=aiotrack.FileBuffer({folder!r}))  # before the fork

@asynccontextmanager
async def lifespan(app):
    async with client:
        yield

async def buy(request):
    result = await client.create_user_context(str(os.getpid())).track_event("k", {{"n": 1}})
    return JSONResponse({{"tracked": bool(result), "pid": os.getpid()}})

app = Starlette(routes=[Route("/buy", buy)], lifespan=lifespan)
"""


async def test_gunicorn_with_preload_and_uvicorn_workers(collector, tmp_path, unused_tcp_port):
    (tmp_path / "shop.py").write_text(APP.format(url=collector.url, folder=str(tmp_path / "buffer")))
    command = ["-m", "gunicorn", "--preload", "-w", "2", "-k", "uvicorn.workers.UvicornWorker"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *command, "-b", f"127.0.0.1:{unused_tcp_port}", "--graceful-timeout", "10", "shop:app"),
        cwd=tmp_path,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        pids = Counter()
        async with asyncio.timeout(30):
            while len(pids) < 2 or sum(pids.values()) < 60:
                try:
                    async with aiohttp.ClientSession() as session:  # a new connection each time, for either worker
                        async with session.get(f"http://127.0.0.1:{unused_tcp_port}/buy") as response:
                            answer = await response.json()
                except aiohttp.ClientConnectionError:
                    await asyncio.sleep(0.05)  # it is not up yet
                    continue
                assert answer["tracked"]
                pids[answer["pid"]] += 1
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, errors.decode()[-2000:]
    assert Counter(int(event["user_id"]) for event in collector.events()) == pids
    assert list((tmp_path / "buffer").rglob("*.seg")) == []


def test_a_fork_costs_a_client_little():
    code = """
import asyncio, os, tempfile, time
times = []
os.register_at_fork(after_in_child=lambda: times.append(time.perf_counter()))
import aiotrack
os.register_at_fork(after_in_child=lambda: times.append(time.perf_counter()))  # after aiotrack's own

async def main():
    class Nowhere(aiotrack.Destination):
        kind = "nowhere"
    clients = [aiotrack.Client(Nowhere(), buffer=aiotrack.FileBuffer(tempfile.mkdtemp())) for _ in range(5)]
    for client in clients:
        await client.start()
    took = min(forked() for _ in range(20))
    for client in clients:
        await client.aclose(1)
    assert took < 0.001, took

def forked():
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, repr(times[1] - times[0]).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with open(reader) as answer:
        return float(answer.read())

asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
