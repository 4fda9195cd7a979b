"""Log lines: one an episode, then counted; and no line breaks, whatever somebody puts into it."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Hashable

__all__ = ["EpisodeLog", "get_logger", "logger", "printable"]

QUIET = 60.0  # seconds without a repeat that end an episode
MOST = 1024  # episodes remembered; odd keys from outside must not grow memory


def printable(text: str) -> str:
    """Return a text as one line of a log: line breaks, escape sequences and what else is not printable is escaped."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)


class _OneLine(logging.Filter):
    """Makes a message one line, whatever event keys, paths or documents bring: a reader can't tell a forged one."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if not message.isprintable():
            record.msg, record.args = printable(message), ()
        return True


def get_logger(name: str) -> logging.Logger:
    """Return a logger below "aiotrack" whose messages are one line each: what is not printable is escaped."""
    found = logging.getLogger(name)
    if not any(isinstance(one, _OneLine) for one in found.filters):
        found.addFilter(_OneLine())
    return found


logger = get_logger("aiotrack")


class EpisodeLog:
    """Log the first of each episode, and how many followed when a new one begins."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._episodes: dict[Hashable, tuple[float, int]] = {}
        self._kinds: dict[Hashable, tuple[float, int]] = {}  # since when, and how many episodes were said

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

    def one_of(self, most: int, level: int, kind: Hashable, episode: Hashable, message: str, *args: object) -> None:
        """Log as `once`, of one kind at most so many episodes a minute, and then that there are more."""
        now = self._monotonic()
        since, said = self._kinds.get(kind, (-math.inf, 0))
        if now - since >= QUIET:
            since, said = now, 0
        if said < most:
            said += self.once(level, (kind, episode), message, *args)
        else:
            self.once(level, (kind, "more"), f"{message}; and others, that are only counted for a while", *args)
        self._kinds[kind] = since, said

    def over(self, episode: Hashable) -> bool:
        """End an episode, so that the next is logged again; tell whether it was running."""
        return self._episodes.pop(episode, None) is not None
