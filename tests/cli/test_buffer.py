"""`aiotrack buffer`: status, drain, adopt and export, with files that have no owner and files that have one."""

import json
import os
import subprocess
import sys

import pytest
from support import assert_conserved

from aiotrack import Client, FileBuffer, HTTPDestination
from aiotrack.cli import main
from aiotrack.testing import Collector, until


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "buffer"


@pytest.fixture
def url(unused_tcp_port):
    return f"http://127.0.0.1:{unused_tcp_port}/events"


async def leave(folder, destination, count=5):
    """Track events that nobody takes."""
    client = Client(destination, buffer=FileBuffer(folder), shutdown_timeout=0.1)
    async with client:
        user = client.create_user_context("u")
        for n in range(count):
            assert await user.track_event("k", {"n": n})
    assert client.stats().total.pending == count


def run(*arguments):
    """Run the command in a process of its own, as people do."""
    done = subprocess.run(  # noqa: PLW1510
        [sys.executable, "-m", "aiotrack", "buffer", *map(str, arguments)], capture_output=True, text=True, timeout=60
    )
    assert "Traceback" not in done.stderr
    return done


def config(tmp_path, name, url):
    path = tmp_path / "aiotrack.toml"
    path.write_text(f'[destinations.{name}]\nkind = "http"\nurl = "{url}"\n')
    return path


async def test_status_says_what_waits_for_whom_since_when_and_how_much(folder, url, caplog):
    await leave(folder, HTTPDestination(url.replace("127", "user:secret@127") + "?token=secret"))
    await leave(folder, HTTPDestination("http://127.0.0.1:9/other", name="o/ther"), 2)
    done = run("status", folder)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0].startswith("http~")
    assert lines[1].split() == ["for", "http:", "http", url.removesuffix("/events")]
    assert lines[2].strip().startswith("waiting  5 events, ")
    assert "the oldest for" in lines[2]
    assert lines[3].startswith("o%2Fther~")
    assert lines[5].strip().startswith("waiting  2 events")
    assert "secret" not in done.stdout + str(list(folder.rglob("*")))
    assert all(b"secret" not in path.read_bytes() for path in folder.rglob("*.*") if path.is_file())
    found = json.loads(run("status", folder, "--json").stdout)["lanes"]
    assert [(lane["lane"], lane["events"], lane["dead_letters"], lane["owners"]) for lane in found] == [
        ("http", 5, 0, []),
        ("o/ther", 2, 0, []),
    ]


async def test_status_and_export_read_beside_who_writes(folder, url):
    async with Client(HTTPDestination(url), buffer=FileBuffer(folder), shutdown_timeout=0.1) as client:
        user = client.create_user_context("u")
        for n in range(30):
            assert await user.track_event("k", {"n": n})
        done = run("status", folder)
        assert "waiting  30 events" in done.stdout
        assert f"process {os.getpid()} is at it" in done.stdout
        exported = [json.loads(line) for line in run("export", folder).stdout.splitlines()]
        assert [line["entry"]["tags"]["n"] for line in exported] == list(range(30))
        assert {line["lane"] for line in exported} == {"http"}
        assert assert_conserved(client).total.pending == 30


async def test_drain_sends_what_waits(folder, url, tmp_path, unused_tcp_port):
    await leave(folder, HTTPDestination(url))
    path = config(tmp_path, "http", url)
    done = run("drain", folder, "--config", path, "--timeout", "0.2")
    assert (done.returncode, done.stdout) == (1, "0 delivered, 0 dead, 0 dropped, 5 still wait\n")
    with Collector(port=unused_tcp_port).in_a_thread() as collector:
        done = run("drain", folder, "--config", path)
        assert (done.returncode, done.stdout) == (0, "5 delivered, 0 dead, 0 dropped, 0 still wait\n")
        assert len(collector.events()) == 5
    assert "waiting  0 events" in run("status", folder).stdout


@pytest.mark.parametrize("by_name", [True, False])
async def test_another_url_s_events_stay_until_they_are_adopted(folder, tmp_path, caplog, by_name):
    await leave(folder, HTTPDestination("http://127.0.0.1:9/old"))
    async with Collector() as collector:
        destination = HTTPDestination(collector.url)
        async with Client(destination, buffer=FileBuffer(folder)) as client:
            assert await client.create_user_context("u").track_event("new")
            await client.flush()
            assert "holds 5 events of 'http' for http http://127.0.0.1:9" in caplog.text
            assert "`aiotrack buffer adopt`" in caplog.text
            status = json.loads(run("status", folder, "--json").stdout)
            lanes = {lane["account"]: lane["name"] for lane in status["lanes"]}
            to = [lanes[collector.url.removesuffix("/events")]]
            if by_name:
                to = ["http", "--config", config(tmp_path, "http", collector.url)]
            done = run("adopt", folder, lanes["http://127.0.0.1:9"], *to)
            assert done.returncode == 0, done.stderr
            assert done.stdout.startswith("5 events are http~")
            await client.flush()
            total = assert_conserved(client).total
            assert (total.delivered, total.recovered) == (6, 5)
        assert sorted(event["event"] for event in collector.events()) == ["k"] * 5 + ["new"]


async def test_a_living_owner_gives_what_it_has_when_it_ends(folder, url, tmp_path):
    client = Client(HTTPDestination("http://127.0.0.1:9/old", name="old"), buffer=FileBuffer(folder))
    async with Collector() as collector:
        await client.start()
        for n in range(4):
            assert await client.create_user_context("u").track_event("k", {"n": n})
        done = run("adopt", folder, "old", "http", "--config", config(tmp_path, "http", collector.url))
        assert done.stdout.splitlines()[1] == f"process {os.getpid()} was asked to give the rest when it ends"
        await client.aclose(timeout=0.1)
        async with Client(HTTPDestination(collector.url), buffer=FileBuffer(folder)) as other:
            await other.flush()
            assert assert_conserved(other).total.recovered == 4
        assert len(collector.events()) == 4


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["status", "missing"], "No such file"),
        (["drain", "missing", "--config", "missing.toml"], "missing.toml: can't be read"),
        (["adopt", ".", "a", "b"], "a: there is none; none at all"),
    ],
)
def test_a_mistake_is_a_sentence(arguments, error, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["buffer", *arguments]) == 2
    assert error in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


async def test_old_files_are_named_and_left(folder, capsys, caplog):
    folder.mkdir()
    (folder / "http.0.db").write_bytes(b"SQLite format 3\0")
    async with Client(HTTPDestination("http://127.0.0.1:9/"), buffer=FileBuffer(folder), shutdown_timeout=0.1):
        await until(lambda: "http.0.db is a file of an earlier aiotrack (SQLite) and is left there" in caplog.text)
    assert main(["buffer", "status", str(folder)]) == 0
    assert "which that version sends: http.0.db" in capsys.readouterr().out
    assert (folder / "http.0.db").read_bytes() == b"SQLite format 3\0"
