"""What to do about an answer. Pure: an answer and the time of day in, a verdict out."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterable
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum

import attrs

from .batch import Answer

__all__ = ["Action", "Verdict", "backoff", "judge"]

BACKOFF_BASE = 0.5  # seconds
BACKOFF_LEAST = 0.1  # a server that answered 503 just now is not asked again at once
BACKOFF_CAP = 30.0
RETRY_AFTER_CAP = 300.0

NUMBER = re.compile(r"[0-9]+(\.[0-9]*)?")  # of seconds; the standard has whole ones only, servers send others, too

BISECTED = frozenset({400, 422})
ENDPOINT = frozenset({401, 404, 405, 407, 410})


class Action(StrEnum):
    """What happens to the batch next."""

    DELIVERED = "delivered"
    RETRY = "retry"
    PAUSE = "pause"
    SPLIT = "split"
    BISECT = "bisect"
    DEAD = "dead"


def _capped(delay: float | None) -> float | None:
    """Return a delay that can be waited for; None where none is asked for, or no number."""
    if delay is None or math.isnan(seconds := float(delay)):
        return None
    return min(max(seconds, 0.0), RETRY_AFTER_CAP)


def _places(bad: Iterable[int]) -> tuple[int, ...]:
    places = tuple(bad)
    if not all(type(place) is int and place >= 0 for place in places):
        raise TypeError("bad: expected places in the batch, from 0")
    return places


@attrs.frozen
class Verdict:
    """An action, and for how many seconds the server asked (or the rule says) to wait before it.

    `bad` are the places in the batch, from 0, of the events that the answer names as bad: a destination that
    can read such answers gives them, and the others are sent again without a search.
    """

    action: Action = attrs.field(converter=Action)
    delay: float | None = attrs.field(default=None, converter=_capped)
    bad: tuple[int, ...] = attrs.field(default=(), converter=_places)


def judge(answer: Answer, now: float) -> Verdict:
    """Return the verdict on an answer received at `now` (Unix seconds).

    2xx is delivered. 413 splits the batch; 400 and 422 are about its content: the bad event is looked for. Redirects,
    401, 404, 405, 407 and 410 are about the endpoint: nothing is wrong with the events, and the lane pauses. Everything
    else, and no answer, is retried, after `Retry-After` where given (at most five minutes): it may be an outage, or be
    about one event, and what happens to the others tells which.
    """
    status = answer.status
    if status is None:
        return Verdict(Action.DELIVERED if answer.error is None else Action.RETRY)
    if 200 <= status < 300:
        return Verdict(Action.DELIVERED if answer.error is None else Action.RETRY)
    if status == 413:
        return Verdict(Action.SPLIT)
    if status in BISECTED:
        return Verdict(Action.BISECT)
    if status in ENDPOINT or 300 <= status < 400:
        return Verdict(Action.PAUSE, _retry_after(answer, now))
    return Verdict(Action.RETRY, _retry_after(answer, now))


def _retry_after(answer: Answer, now: float) -> float | None:
    """Read `Retry-After`, seconds or a date (RFC 9110, 10.2.3); None where absent or unreadable."""
    text = next((value for name, value in answer.headers.items() if name.lower() == "retry-after"), "").strip()
    if not text:
        return None
    if NUMBER.fullmatch(text):
        seconds = float(text)
    else:
        try:
            date = parsedate_to_datetime(text)
            seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now
        except (ValueError, OverflowError):
            return None
    return seconds


def backoff(failures: int, uniform: random.Random) -> float:
    """Return how many seconds to wait after the nth failure in a row: jittered, a tenth of one to half a minute."""
    return uniform.uniform(BACKOFF_LEAST, min(BACKOFF_CAP, BACKOFF_BASE * 2 ** min(failures, 20)))
