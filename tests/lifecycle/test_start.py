"""A start that fails."""

import asyncio
import time

import pytest
from support import Recorder

from aiotrack import Client, errors, hookimpl


async def test_a_start_that_fails_keeps_its_deadline_and_shuts_down_what_it_started():
    class Slow(Recorder):
        async def close(self):
            await asyncio.Event().wait()

    class Stuck(Recorder):
        async def start(self, client):
            await asyncio.Event().wait()

    started = time.monotonic()
    with pytest.raises(errors.StartError):
        await Client(Slow(), Stuck(name="stuck"), start_timeout=0.2).start()
    assert time.monotonic() - started < 0.7

    calls = []

    class Plugin:
        @hookimpl
        async def aiotrack_startup(self, client):
            calls.append("up")

        @hookimpl
        async def aiotrack_shutdown(self, client):
            calls.append("down")

    class Broken:
        @hookimpl
        async def aiotrack_startup(self, client):
            raise KeyError

    with pytest.raises(errors.PluginError):
        await Client(Recorder(), Plugin(), Broken(), strict=True).start()
    assert calls == ["up", "down"]
