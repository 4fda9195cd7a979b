"""What a durable or shared buffer needs while its lane runs: to look for what others left, and to hold its claims."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from aiotrack.model.tasks import PLUGIN_ERRORS, OwnTask

if TYPE_CHECKING:
    from aiotrack.buffers.base import Claim, LaneBuffer
    from aiotrack.hooks.plugins import Plugins
    from aiotrack.model.tasks import Tasks

    from .schedule import Schedule

__all__ = ["Upkeep"]

RECOVER_EVERY = 30.0  # seconds between two looks for what dead processes left


class Upkeep:
    """Looks after one lane's buffer; a buffer that raises is named in the log, and tried again."""

    def __init__(
        self,
        name: str,
        buffer: LaneBuffer,
        schedule: Schedule,
        plugins: Plugins,
        open_claims: Callable[[], list[Claim]],
    ) -> None:
        self._name = name
        self._buffer = buffer
        self._schedule = schedule
        self._plugins = plugins
        self._open_claims = open_claims

    def start(self, tasks: Tasks) -> None:
        """Start the tasks that the buffer needs; one in memory needs none."""
        if self._buffer.durable:
            tasks.spawn(self._keep_recovering(), name=f"aiotrack recovery {self._name}")
        lease: float | None = getattr(self._buffer, "lease", None)
        if lease is not None:
            tasks.spawn(self._keep_renewing(lease), name=f"aiotrack renewal {self._name}")

    async def recover(self) -> None:
        """Look for what dead processes have left."""
        await self._guarded(self._buffer.recover)

    async def _keep_recovering(self) -> None:
        while True:
            await self.recover()
            await self._schedule.sleep(RECOVER_EVERY, interruptible=False)

    async def _keep_renewing(self, lease: float) -> None:
        """Hold what is claimed from a shared engine for as long as it takes to deliver it."""
        while True:
            await self._schedule.sleep(lease / 3, interruptible=False)
            for claim in self._open_claims():
                await self._guarded(self._buffer.renew, claim)

    async def _guarded(self, work: Callable[..., Coroutine[Any, Any, None]], *args: object) -> None:
        own = OwnTask()
        try:
            await work(*args)
        except PLUGIN_ERRORS as exc:  # a buffer is foreign code
            own.reraise(exc)
            self._plugins.record(self._name, "buffer", exc)
