"""One line per episode: what goes wrong a thousand times a second is said once, and then counted."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Hashable

__all__ = ["EpisodeLog", "logger"]

logger = logging.getLogger("aiotrack")

QUIET = 60.0  # seconds without a repeat that end an episode
MOST = 1024  # episodes remembered; odd keys from outside must not grow memory


class EpisodeLog:
    """Log the first of each episode, and how many followed when a new one begins."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._episodes: dict[Hashable, tuple[float, int]] = {}

    def once(self, level: int, episode: Hashable, message: str, *args: object, until_over: bool = False) -> bool:
        """Log `message % args` unless this episode is already running.

        It ends after a minute without a repeat; `until_over`, only by a call of `over`. Returns whether it was logged.
        """
        now = self._monotonic()
        last, unsaid = self._episodes.pop(episode, (-math.inf, 0))
        if now - last < (math.inf if until_over else QUIET):
            self._episodes[episode] = (now, unsaid + 1)
            return False
        if len(self._episodes) >= MOST:
            del self._episodes[next(iter(self._episodes))]
        self._episodes[episode] = (now, 0)
        if unsaid:
            message, args = f"{message} (and %d times before)", (*args, unsaid)
        logger.log(level, message, *args)
        return True

    def over(self, episode: Hashable) -> bool:
        """End an episode, so that the next is logged again; tell whether it was running."""
        return self._episodes.pop(episode, None) is not None
