"""Programs without an event loop, as they are: threads, forks and every normal end; gunicorn, Celery, a notebook."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import urllib.request
from pathlib import Path

import pytest

from aiotrack.testing import Collector, Reply, until

START = """
    import multiprocessing, os, sys, threading, warnings
    import aiotrack
    warnings.filterwarnings("ignore", "This process", DeprecationWarning)  # of 3.12: forking beside threads

    client = aiotrack.SyncClient(aiotrack.HTTPDestination(sys.argv[1]), flush_interval=60, batch_size=10_000)
    user = client.create_user_context("ann")

    def track(name, count=50):
        for number in range(count):
            assert user.track_event(name, {"n": number})
"""

PROGRAMS = {
    "the end of the program": ("track('main')", ["main"]),
    "sys.exit": ("track('main'); sys.exit(3)", ["main"]),
    "an exception that nobody handles": ("track('main'); raise KeyError", ["main"]),
    "a with block": ("with client: track('main')", ["main"]),
    "threads": (
        """
        threads = [threading.Thread(target=track, args=(f"thread {n}",)) for n in range(5)]
        [thread.start() for thread in threads]
        """,
        [f"thread {n}" for n in range(5)],
    ),
    "a fork before the first use": (
        """
        child = os.fork()
        track("parent" if child else "child")
        child and os.waitpid(child, 0)
        """,
        ["parent", "child"],
    ),
    "a fork after it": (
        """
        track("before")
        child = os.fork()
        track("parent" if child else "child")
        child and os.waitpid(child, 0)
        """,
        ["before", "parent", "child"],
    ),
    "forks while threads track": (
        """
        threads = [threading.Thread(target=track, args=(f"thread {n}", 200)) for n in range(3)]
        [thread.start() for thread in threads]
        children = []
        for number in range(5):
            child = os.fork()
            if not child:
                track(f"child {number}")
                sys.exit(0)
            children.append(child)
        [os.waitpid(child, 0) for child in children]
        [thread.join() for thread in threads]
        """,
        [*(f"thread {n}" for n in range(3)), *(f"child {n}" for n in range(5))],
    ),
    "a fork of a fork": (
        """
        track("one")
        if not (child := os.fork()):
            track("two")
            if not (grandchild := os.fork()):
                track("three")
                sys.exit(0)
            os.waitpid(grandchild, 0)
            sys.exit(0)
        os.waitpid(child, 0)
        """,
        ["one", "two", "three"],
    ),
    "a fork after the close": (
        """
        track("before")
        client.close()
        if not os.fork():
            sys.exit(0 if user.track_event("child").refused["http"].reason == "client closing" else 5)
        assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
        """,
        ["before"],
    ),
    "processes of multiprocessing": (
        """
        track("before")
        context = multiprocessing.get_context("fork")
        children = [context.Process(target=track, args=(f"child {n}",)) for n in range(3)]
        [child.start() for child in children]
        [child.join() for child in children]
        assert {child.exitcode for child in children} == {0}
        """,
        ["before", *(f"child {n}" for n in range(3))],
    ),
}


def counted(collector):
    found = {}
    for request in collector.requests:
        for event in request.json():
            found.setdefault(event["event"], []).append(event["tags"]["n"])
    return found


@pytest.mark.parametrize("name", PROGRAMS)
async def test_all_that_was_accepted_arrives_once(name):
    program, tracked = PROGRAMS[name]
    async with Collector() as collector:
        source = textwrap.dedent(START) + textwrap.dedent(program)
        ended = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", source, collector.url],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert sorted(counted(collector)) == sorted(tracked), ended.stderr
        for numbers in counted(collector).values():
            assert sorted(numbers) == list(range(max(numbers) + 1))
    noise = [
        line
        for line in ended.stderr.splitlines()
        if "Traceback" in line or "lost" in line or "Exception ignored" in line
    ]
    assert noise == (["Traceback (most recent call last):"] if "exception" in name else []), ended.stderr


async def test_a_server_that_hangs_delays_the_end_no_longer_than_the_deadline():
    program = """
        client = aiotrack.SyncClient(aiotrack.HTTPDestination(sys.argv[1]), shutdown_timeout=0.5)
        assert client.create_user_context("ann").track_event("k")
    """
    async with Collector(default=Reply(hang=True)) as collector:
        ended = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", textwrap.dedent(START) + textwrap.dedent(program), collector.url],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    assert ended.returncode == 0
    assert "http: 1 events are lost: the client was closed before they were delivered" in ended.stderr


async def test_a_function_that_is_frozen_and_thawed_goes_on(tmp_path):
    """Serverless platforms stop a process between two invocations; its connections may be gone when it goes on."""
    program = """
        for line in sys.stdin:
            result = user.track_event(line.strip(), {"n": 0})
            print(client.flush(10).delivered, flush=True)
    """
    async with Collector() as collector:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", textwrap.dedent(START) + textwrap.dedent(program), collector.url),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for number in range(3):
            process.stdin.write(f"invocation {number}\n".encode())
            assert await asyncio.wait_for(process.stdout.readline(), 20) == f"{number + 1}\n".encode()
            os.kill(process.pid, signal.SIGSTOP)
            collector.script(Reply(lose=True))
            os.kill(process.pid, signal.SIGCONT)
        process.stdin.close()
        assert await asyncio.wait_for(process.wait(), 20) == 0
        assert set(counted(collector)) == {f"invocation {number}" for number in range(3)}


# -- servers and workers -------------------------------------------------------------------------------

WSGI = """
    import aiotrack, os

    client = aiotrack.SyncClient(aiotrack.HTTPDestination(os.environ["COLLECTOR"]), flush_interval=60)
    if os.environ.get("USED_BEFORE"):
        client.create_user_context("master").track_event("master", {"n": 0})

    def app(environ, start_response):
        number = int(environ["QUERY_STRING"])
        result = client.create_user_context("ann").track_event("request", {"n": number})
        start_response("200 OK" if result else "500 Refused", [("Content-Type", "text/plain")])
        return [str(os.getpid()).encode()]
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def get(url):
    with urllib.request.urlopen(url, timeout=20) as answer:  # noqa: S310 - loopback
        return answer.status


def is_open(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def are_idle(port):
    """Tell whether no worker of uWSGI is busy, as its own statistics say."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection, connection.makefile() as told:
        return {worker["status"] for worker in json.load(told)["workers"]} == {"idle"}


# uWSGI's master ends without Python's own end, so what it tracks itself has to be flushed.
@pytest.mark.parametrize(("kind", "used_before"), [("gunicorn", ""), ("gunicorn", "1"), ("uwsgi", "")])
async def test_pre_forked_web_workers_with_one_line(kind, used_before, tmp_path):
    pytest.importorskip("gunicorn")
    program = Path(sys.executable).parent / kind
    if not program.exists():
        pytest.skip(f"{kind} is not installed")
    port, statistics = free_port(), free_port()
    (tmp_path / "web.py").write_text(textwrap.dedent(WSGI))
    commands = {
        "gunicorn": ["--preload", "-k", "sync", "-w", "2", "-b", f"127.0.0.1:{port}", "web:app"],
        "uwsgi": [
            *("--http-socket", f"127.0.0.1:{port}", "--master", "--processes", "2", "--enable-threads"),
            *("--module", "web:app", "--die-on-term", "--need-app", "--virtualenv", sys.prefix),
            *("--stats", f"127.0.0.1:{statistics}"),
        ],
    }
    async with Collector() as collector:
        environment = {**os.environ, "COLLECTOR": collector.url, "USED_BEFORE": used_before, "PYTHONWARNINGS": "ignore"}
        process = await asyncio.create_subprocess_exec(
            program, *commands[kind], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        try:
            await until(lambda: is_open(port), timeout=20)
            urls = [f"http://127.0.0.1:{port}/?{number}" for number in range(40)]
            assert set(await asyncio.gather(*(asyncio.to_thread(get, url) for url in urls))) == {200}
            if kind == "uwsgi":  # which ends a worker that is still busy without Python's own end
                await until(lambda: are_idle(statistics), timeout=20)
        finally:
            process.terminate()
            _, stderr = await asyncio.wait_for(process.communicate(), 30)
        found = counted(collector)
        assert sorted(found["request"]) == list(range(40)), stderr.decode()
        assert found.get("master", []) == ([0] if used_before else [])


CELERY = """
    import os
    import aiotrack, celery

    app = celery.Celery("tasks", broker="filesystem://", backend=None)
    folder = os.environ["FOLDER"]
    app.conf.broker_transport_options = {
        "data_folder_in": folder, "data_folder_out": folder, "control_folder": folder + "/control",
    }
    client = aiotrack.SyncClient(aiotrack.HTTPDestination(os.environ["COLLECTOR"]), flush_interval=60)

    @app.task
    def job(user, number):
        assert client.load_user(user).track_event("job", {"n": number})
        open(os.path.join(folder, "done", str(number)), "w").close()
"""


async def test_a_celery_worker_with_one_line(tmp_path):
    pytest.importorskip("celery")
    for name in ("broker", "broker/control", "broker/done"):
        (tmp_path / name).mkdir()
    (tmp_path / "tasks.py").write_text(textwrap.dedent(CELERY))
    async with Collector() as collector:
        environment = {**os.environ, "COLLECTOR": collector.url, "FOLDER": str(tmp_path / "broker")}
        send = "import tasks; user = tasks.client.create_user_context('ann').dump()\n"
        send += "for number in range(30): tasks.job.delay(user, number)"
        await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", send], cwd=tmp_path, env=environment, check=True, timeout=60
        )
        worker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "celery", "-A", "tasks", "worker", "--pool", "prefork", "-c", "2"),
            cwd=tmp_path,
            env=environment,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        try:
            done = tmp_path / "broker" / "done"
            await until(lambda: len(list(done.iterdir())) == 30, timeout=60)
        finally:
            worker.terminate()
            _, stderr = await asyncio.wait_for(worker.communicate(), 60)
        assert sorted(counted(collector)["job"]) == list(range(30)), stderr.decode()


async def test_a_notebook(tmp_path):
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    async with Collector() as collector:
        cells = [
            f"import aiotrack; client = aiotrack.SyncClient(aiotrack.HTTPDestination({collector.url!r}))",
            "user = client.create_user_context('ann')",
            "print(bool(user.track_event('cell', {'n': 0})))",
            "print(client.flush(5).delivered)",
            "print(bool(user.track_event('cell', {'n': 1})))",
        ]
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        kernel = nbclient.NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(tmp_path)}})
        await kernel.async_execute()
        printed = [cell["outputs"][0]["text"].strip() for cell in notebook.cells if cell["outputs"]]
        assert printed == ["True", "1", "True"]
        assert json.dumps(counted(collector)) == '{"cell": [0, 1]}'
