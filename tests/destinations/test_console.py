"""The console: what a developer sees of each event, and what nobody sees."""

import io
import os
import pty
import subprocess
import sys

import pytest
from support import assert_conserved

import aiotrack
from aiotrack import Client, Console, LocalStore, errors

MOMENT = 1_700_000_000_123


async def printed(*calls, **options):
    stream = io.StringIO()
    async with Client(Console(stream=stream, **options)) as client:
        user = client.create_user_context("ann", {"plan": "pro"})
        for key, tags in calls:
            await user.track_event(key, tags, timestamp=MOMENT)
        await client.flush()
        assert_conserved(client)
    return stream.getvalue()


async def test_an_event_is_a_line():
    text = await printed(("purchase", {"revenue": 4200, "items": [{"sku": "s"}]}), ("view", None))
    first, second = text.splitlines()
    assert first[8:] == '.123 purchase ann revenue=4200 items=[{"sku":"s"}] user.plan="pro"'
    assert second[8:] == '.123 view ann user.plan="pro"'


async def test_values_can_be_hidden():
    text = await printed(("purchase", {"revenue": 4200, "card": "secret"}), values=False)
    assert text[8:] == ".123 purchase revenue card user.plan\n"


async def test_colours_are_for_those_who_want_them():
    assert "\x1b[1mpurchase\x1b[0m" in await printed(("purchase", None), colour=True)
    assert "\x1b" not in await printed(("purchase", None))


async def test_nothing_from_outside_gets_at_the_terminal():
    text = await printed(("a\x1b[2J\nb\u202e", {"x\x9b": "\x1b]0;title\x07", "long": "y" * 500}))
    assert text.count("\n") == 1
    assert text.rstrip("\n").isprintable()
    assert "y" * 101 not in text


async def test_names_and_choices_of_its_own():
    text = await printed(
        ("purchase", {"a": 1}), ("view", None), only="purchase", rename={"purchase": "order", "a": "b"}
    )
    assert text[8:] == '.123 order ann b=1 user.plan="pro"\n'


async def test_a_closed_stream_loses_nothing_but_the_line():
    stream = io.StringIO()
    stream.close()
    async with Client(Console(stream=stream)) as client:
        assert await client.create_user_context("ann").track_event("k")
        assert (await client.flush()).delivered == 1


@pytest.mark.parametrize("timestamp", [-1, 2**62])
async def test_a_time_beyond_all_dates(timestamp):
    stream = io.StringIO()
    async with Client(Console(stream=stream)) as client:
        await client.create_user_context("ann").track_event("k", timestamp=timestamp)
    assert stream.getvalue() == f"{timestamp} k ann\n"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"values": 1}, "values: expected true or false, got int"),
        ({"colour": "yes"}, "colour: expected true, false or None, got str"),
        ({"stream": "stderr"}, "stream: expected a text stream, got str"),
    ],
)
def test_a_wrong_option_is_named(options, sentence):
    with pytest.raises(errors.ConfigError) as caught:
        Console(**options)
    assert str(caught.value) == sentence


async def test_the_environment_adds_one_beside_all_others(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AIOTRACK_CONSOLE", "1")
    for destinations in ([], [LocalStore("a.db")], [LocalStore("a.db"), Console()]):
        async with Client(*destinations) as client:
            result = await client.create_user_context("ann").track_event("k")
            assert result.accepted == ("local", "console")
    assert capsys.readouterr().err.count(" k ann") == 3
    assert Client.from_config({}).stats()
    monkeypatch.setenv("AIOTRACK_CONSOLE", "0")
    async with Client() as client:
        assert (await client.create_user_context("ann").track_event("k")).accepted == ("local",)


async def test_it_can_be_configured(capsys):
    async with Client.from_config({"destinations": {"see": {"kind": "console", "values": False}}}) as client:
        assert (await client.create_user_context("ann").track_event("k")).accepted == ("see",)
    assert capsys.readouterr().err.endswith(" k\n")


def test_a_terminal_has_colours_unless_it_wants_none():
    program = "import aiotrack as a\nwith a.SyncClient(a.Console()) as c: c.create_user_context('u').track_event('k')"
    for no_colour in ("", "1"):
        ours, theirs = pty.openpty()
        environment = {**os.environ, "NO_COLOR": no_colour}
        subprocess.run([sys.executable, "-c", program], stderr=theirs, env=environment, check=True, timeout=30)
        os.close(theirs)
        text = os.read(ours, 10_000).decode()
        os.close(ours)
        assert " k" in text.replace("\x1b[1m", "")
        assert ("\x1b[" in text) == (not no_colour)


def test_it_is_public():
    assert aiotrack.Console is Console
