"""The embedded store: each event once, in a file of mode 0600, with all file work off the loop."""

import asyncio
import os
import sqlite3
import stat
import sys
import threading

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import assert_conserved

import aiotrack
from aiotrack import Client, FileBuffer, LocalStore, errors
from aiotrack.destinations.local_store import EventSummary
from aiotrack.testing import until


def rows(path, query="SELECT * FROM events ORDER BY timestamp"):
    with sqlite3.connect(path) as db:
        found = db.execute(query).fetchall()
    db.close()
    return found


async def test_events_are_stored_with_all_they_have(tmp_path):
    path = tmp_path / "events.db"
    async with aiotrack.Client(LocalStore(path)) as client:
        user = client.create_user_context("ann", {"plan": "gold"}, user_agent="UA", session_id=5)
        tags = {"revenue": 4200, "value": "1.5", "items": [{"sku": "a"}]}
        await user.track_event("purchase", tags, event_id="id-1", timestamp=1000)
        await user.track_event("view", timestamp=2000)
    purchase, view = rows(path)
    assert purchase[:6] == ("id-1", "purchase", "ann", 1000, 4200, 1.5)
    assert [orjson.loads(text) for text in purchase[6:]] == [
        tags,
        {"plan": "gold"},
        {"user_agent": "UA", "session_id": 5},
    ]
    assert view[1:6] == ("view", "ann", 2000, None, None)


async def test_the_summary_counts_by_event(tmp_path):
    store = LocalStore(tmp_path / "events.db")
    async with aiotrack.Client(store) as client:
        for user, key, tags in [
            ("ann", "view", None),
            ("bob", "view", None),
            ("ann", "view", None),
            ("ann", "purchase", {"revenue": 4200, "value": 2}),
            ("bob", "purchase", {"revenue": 100}),
        ]:
            await client.create_user_context(user).track_event(key, tags)
        await client.flush()
        while_open = await store.summary()
    assert while_open == await store.summary()
    assert while_open == [EventSummary("view", 3, 2, None, None), EventSummary("purchase", 2, 2, 4300, 2.0)]


async def test_an_event_id_counts_once_whoever_sends_it_again(tmp_path):
    path = tmp_path / "events.db"
    for _ in range(2):
        async with aiotrack.Client(LocalStore(path)) as client:
            user = client.create_user_context("u")
            for number in [1, 2, 1]:
                assert await user.track_event("k", event_id=f"id-{number}")
            assert (await client.flush()).delivered == 3
    assert len(rows(path)) == 2


async def test_the_default_is_a_file_in_the_current_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    async with aiotrack.Client() as client:
        assert list(client.stats().lanes) == ["local"]
        await client.create_user_context("u").track_event("k")
    assert len(rows(tmp_path / "aiotrack.db")) == 1


async def test_the_file_is_the_owners_alone(tmp_path):
    path = tmp_path / "events.db"
    old = os.umask(0)
    try:
        async with aiotrack.Client(LocalStore(path)) as client:
            await client.create_user_context("u").track_event("k")
            await client.flush()
            for file in tmp_path.iterdir():
                assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    finally:
        os.umask(old)


@pytest.mark.parametrize("where", ["missing/events.db", ".", "not-a-database"])
async def test_a_path_that_cannot_be_used_is_a_sentence_at_start(tmp_path, where):
    (tmp_path / "not-a-database").write_bytes(b"something else " * 100)
    client = aiotrack.Client(LocalStore(tmp_path / where))
    with pytest.raises(errors.StartError, match=r"destination 'local': can't use '.*': "):
        await client.start()
    await until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("aiotrack")])


@pytest.mark.parametrize("path", ["", None, 5])
def test_a_path_that_is_none_is_refused(path):
    with pytest.raises(errors.ConfigError, match="path: expected the path of a file"):
        LocalStore(path)


async def test_a_locked_file_delays_and_does_not_lose(tmp_path, monkeypatch):
    monkeypatch.setattr("aiotrack.destinations.local_store.BUSY", 0.01)
    path = tmp_path / "events.db"
    store = LocalStore(path)
    async with aiotrack.Client(store) as client:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        await client.create_user_context("u").track_event("k")
        report = await client.flush(timeout=0.3)
        assert report.pending == 1
        assert client.stats().lanes["local"].state == "retrying"
        other.execute("ROLLBACK")
        other.close()
        assert (await client.flush()).delivered == 1
        assert_conserved(client)


async def test_no_file_is_touched_on_the_loops_thread(tmp_path):
    loop_thread = threading.get_ident()
    touched = []
    watching = True

    def hook(event, arguments):
        if watching and event in {"open", "sqlite3.connect"} and threading.get_ident() == loop_thread:
            touched.append((event, arguments[0]))

    sys.addaudithook(hook)
    store = LocalStore(tmp_path / "events.db")
    async with aiotrack.Client(store, batch_size=10) as client:
        for _ in range(100):
            await client.create_user_context("u").track_event("k")
        await client.flush()
        await store.summary()
    watching = False
    assert touched == []


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["revenue", "value", "a", "\x00", "é"]),
            st.none()
            | st.integers(-(2**63), 2**64 - 1)
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(st.characters(exclude_categories=["Cs"]))
            | st.lists(st.integers(0, 9), max_size=3),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_whatever_is_accepted_can_be_stored(tmp_path_factory, several):
    path = tmp_path_factory.mktemp("store") / "events.db"

    async def main():
        async with aiotrack.Client(LocalStore(path)) as client:
            results = [
                await client.create_user_context("u").track_event("k", tags, timestamp=number)
                for number, tags in enumerate(several)
            ]
            report = await client.flush()
        assert all(results)
        assert (report.delivered, report.pending, report.dead) == (len(several), 0, 0)

    asyncio.run(main())
    assert [orjson.loads(row[0]) for row in rows(path, "SELECT tags FROM events ORDER BY timestamp")] == several


async def test_a_file_that_was_deleted_is_begun_anew(tmp_path):
    path = tmp_path / "events.db"
    async with aiotrack.Client(LocalStore(path)) as client:
        user = client.create_user_context("u")
        await user.track_event("before")
        await client.flush()
        for file in tmp_path.iterdir():
            file.unlink()
        await user.track_event("after")
        assert (await client.flush()).delivered == 2
    assert [row[1] for row in rows(path)] == ["after"]


async def test_a_file_with_another_table_of_that_name_is_refused(tmp_path):
    path = tmp_path / "events.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE events (a, b)")
    db.close()
    with pytest.raises(errors.StartError, match="its table events has other columns: a, b"):
        await aiotrack.Client(LocalStore(path)).start()


async def test_a_row_that_cannot_be_stored_costs_one_event(tmp_path):
    class Breaking(LocalStore):
        def encode(self, event):
            encoded = super().encode(event)
            return encoded.replace(b'"user_id":"u"', b'"user_id":null') if event.key == "bad" else encoded

    path = tmp_path / "events.db"
    async with aiotrack.Client(Breaking(path)) as client:
        for key in ("a", "bad", "b"):
            await client.create_user_context("u").track_event(key)
        report = await client.flush()
        assert (report.delivered, report.dead, report.pending) == (2, 1, 0)
    assert sorted(row[1] for row in rows(path)) == ["a", "b"]


async def test_a_process_that_changes_its_folder_goes_on_with_its_file(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    async with Client(LocalStore("events.db"), buffer=FileBuffer("buffer")) as client:
        user = client.create_user_context("u")
        assert await user.track_event("k")
        await client.flush()
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert await user.track_event("k")
        await client.flush()
        assert [row.count for row in await client._pipeline.lanes[0].destination.summary()] == [2]
    assert list((tmp_path / "elsewhere").iterdir()) == []
