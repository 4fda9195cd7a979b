"""Programs that end, or go on, in the ways that programs do: `programs.py NAME FOLDER URL`. Each tracks 130 events."""

import asyncio
import gc
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback

import aiotrack
from aiotrack.buffers.file.log import SegmentLog
from aiotrack.testing import until

COUNT = 130


def say(line):
    sys.stdout.write(line + "\n")


def make(folder, url, **options):
    kind, _, path = folder.rpartition(":")
    buffer = None if path == "memory" else aiotrack.FileBuffer(path)
    if kind == "spill":
        buffer = aiotrack.SpillBuffer(buffer)
    return aiotrack.Client(destination(url), buffer=buffer, **options)


def destination(url):
    """Return a destination: `store:PATH`, `gzip+URL` or a URL."""
    if url.startswith("store:"):
        return aiotrack.LocalStore(url.removeprefix("store:"))
    compression = "gzip" if url.startswith("gzip+") else None
    return aiotrack.HTTPDestination(url.removeprefix("gzip+"), compression=compression)


async def track(client, count=COUNT, user="u"):
    context = client.create_user_context(user)
    results = await asyncio.gather(*(context.track_event("k", {"n": n}) for n in range(count)))
    assert all(results)


async def started(folder, url, **options):
    client = make(folder, url, flush_interval=3600, **options)
    await client.start()
    await track(client)
    return client


async def forgotten(folder, url):
    await started(folder, url)


async def hard_exit(folder, url):
    client = await started(folder, url)
    assert client.health()
    os._exit(0)


async def closed(folder, url):
    async with make(folder, url, flush_interval=3600) as client:
        await track(client)


async def exception_in_the_block(folder, url):
    async with make(folder, url, flush_interval=3600) as client:
        await track(client)
        raise RuntimeError("on purpose")


async def exit_in_the_block(folder, url):
    async with make(folder, url, flush_interval=3600) as client:
        await track(client)
        sys.exit(3)


async def interrupted_in_the_block(folder, url):
    async with make(folder, url, flush_interval=3600) as client:
        await track(client)
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(30)


async def forked_in_the_block(folder, url):
    """A child that ends at once, in the middle of its parent's requests."""
    async with make(folder, url, flush_interval=0.01) as client:
        await track(client)
        child = os.fork()
        if child == 0:
            os._exit(0)
        await asyncio.to_thread(os.waitpid, child, 0)


async def crashed_with_waiting_threads(folder, url):
    client = await started(folder, url)
    user = client.create_user_context("u")
    threads = [threading.Thread(target=lambda: user.track_event_threadsafe("k", {"n": -1}).result()) for _ in range(2)]
    for thread in threads:
        thread.daemon = False
        thread.start()
    raise RuntimeError("on purpose")


async def exception(folder, url):
    await started(folder, url)
    raise RuntimeError("on purpose")


async def system_exit(folder, url):
    await started(folder, url)
    sys.exit(3)


async def interrupted(folder, url):
    """Ctrl-C cancels the main task, and the client is closed on the way out."""
    async with make(folder, url, flush_interval=3600, shutdown_timeout=0.5) as client:
        await track(client)
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(30)


async def interrupted_twice(folder, url):
    """Somebody who does not wait for the close."""
    async with make(folder, url, flush_interval=3600, shutdown_timeout=30) as client:
        await track(client)
        os.kill(os.getpid(), signal.SIGINT)
        asyncio.get_running_loop().call_later(0.3, os.kill, os.getpid(), signal.SIGINT)
        await asyncio.sleep(30)


async def timeout_around_the_close(folder, url):
    client = await started(folder, url, shutdown_timeout=30)
    try:
        async with asyncio.timeout(0.3):
            await client.aclose()
    except TimeoutError:
        say("the program goes on, and ends")


class Refuses(aiotrack.HTTPDestination):
    """One that takes nothing, slowly enough that callers are held for room."""

    async def send(self, batch):
        await asyncio.sleep(3600)


async def threads_wait(folder, url):
    """Threads wait for futures when the main task fails."""
    client = aiotrack.Client(Refuses(url), buffer=aiotrack.MemoryBuffer(5000), overflow_timeout=3600, batch_size=5)
    await client.start()
    user = client.create_user_context("u")
    waiting = []

    def wait():
        try:
            while True:
                future = user.track_event_threadsafe("k", {"text": "x" * 100})
                waiting.append(future)
                future.result()
        except Exception as exc:
            say(f"{type(exc).__name__}: {exc}")

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    await until(lambda: len(waiting) >= 10)
    raise RuntimeError("on purpose")


async def nowait_at_the_end(folder, url):
    client = await started(folder, url)
    for n in range(10):
        assert client.create_user_context("u").track_event_nowait("late", {"n": n})


async def slow_disk_at_the_close(folder, url):
    client = await started(folder, url)
    write = SegmentLog.write

    def write_slowly(log, work):
        time.sleep(0.5)  # past the deadline of the close
        return write(log, work)

    SegmentLog.write = write_slowly
    for n in range(10):
        assert client.create_user_context("u").track_event_nowait("late", {"n": n})
    await client.aclose(timeout=0.1)


async def sigterm(folder, url):
    client = await started(folder, url)
    aiotrack.close_on_signal(client)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(30)


async def sigterm_in_a_block(folder, url):
    client = await started(folder, url)
    before = signal.getsignal(signal.SIGTERM)
    with aiotrack.close_on_signal(client):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
    undo = aiotrack.close_on_signal(client, signal.SIGUSR1)
    undo()
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
    with aiotrack.close_on_signal(client):
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(30)


async def sigterm_with_a_handler(folder, url):
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: say("the loop's handler"))
    client = await started(folder, url)
    done = asyncio.Event()
    previous = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, lambda number, frame: (previous(number, frame), say("my handler"), done.set()))
    aiotrack.close_on_signal(client)
    os.kill(os.getpid(), signal.SIGTERM)
    await done.wait()
    say(f"closed with {client.stats().total.pending} pending")


async def used_then_forked(folder, url):
    client = await started(folder, url)
    child = os.fork()
    if child == 0:
        try:
            in_child(client, folder, url)
        except BaseException:
            traceback.print_exc()
            os._exit(4)
        os._exit(0)  # to let go of the parent's event loop would break it there, with or without us
    assert (await asyncio.to_thread(os.waitpid, child, 0))[1] == 0
    await track(client, 5, "after")
    await client.aclose()


def in_child(client, folder, url):
    """The parent's client refuses here, what it holds is let go of without harm, and one of the child's own works."""
    try:
        client.create_user_context("u").track_event_nowait("k")
    except aiotrack.errors.WrongLoop:
        pass
    else:
        raise AssertionError("the parent's client took an event in the child")
    del client
    gc.collect()
    asyncio.events._set_running_loop(None)
    asyncio.set_event_loop(None)
    asyncio.run(child_of_its_own(folder, url))


async def child_of_its_own(folder, url):
    async with make(folder, url) as client:
        await track(client, user="child")


def worker(folder, url, number):
    asyncio.run(child_of_its_own(folder, url))


async def multiprocess(folder, url):
    async with make(folder, url) as client:
        await track(client)
        for method in ("fork", "spawn"):
            context = multiprocessing.get_context(method)
            workers = [context.Process(target=worker, args=(folder, url, n)) for n in range(2)]
            for process in workers:
                process.start()
            for process in workers:
                await asyncio.to_thread(process.join, 30)
                assert process.exitcode == 0, process.exitcode


async def cancelled_by_run(folder, url):
    """The sender is cancelled together with the task that then closes, as at the end of `asyncio.run`."""

    async def serve():
        client = await started(folder, url)
        try:
            await asyncio.sleep(3600)
        finally:
            report = await client.aclose()
            assert (report.delivered, report.pending) == (COUNT, 0), report

    serving = asyncio.create_task(serve())
    await asyncio.sleep(0.5)  # until all is tracked and the senders rest
    assert not serving.done()


if __name__ == "__main__":
    _, name, folder, url = sys.argv
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background has its children ignore it
    asyncio.run(globals()[name](folder, url))
