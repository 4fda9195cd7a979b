"""Dead letters: events that a destination refused for good, or that were given up on, with its answer."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import attrs

from aiotrack.model.batch import Answer

__all__ = ["Cause", "DeadLetter", "DeadLetters"]

MOST = 10_000  # letters kept
MOST_BYTES = 16 * 1024 * 1024  # of them, answers included
ANSWER_BYTES = 4096


@attrs.frozen
class Cause:
    """Why an entry is dead.

    `status` is the HTTP status of the last answer, where there was one, and `answer` the first 4 KiB of its
    body; `at` is in Unix seconds.
    """

    reason: str
    status: int | None = None
    answer: bytes = attrs.field(default=b"", repr=False)
    at: float = 0.0

    @classmethod
    def of(cls, answer: Answer, at: float) -> Cause:
        """Take from an answer what can be kept, whatever a destination put into it."""
        body: object = answer.body
        return cls(
            str(answer).encode("utf-8", "replace").decode()[:500],
            answer.status if isinstance(answer.status, int) and 0 <= answer.status < 1000 else None,
            body[:ANSWER_BYTES] if isinstance(body, bytes) else b"",
            at,
        )


@attrs.frozen
class DeadLetter:
    """An entry that won't be delivered, as it was encoded. `id` tells it from others of its destination."""

    id: int
    cause: Cause
    entry: bytes = attrs.field(repr=lambda entry: f"<{len(entry)} bytes>")
    batch_header: bytes = attrs.field(default=b"", repr=False)
    destination: str = ""

    @property
    def size(self) -> int:
        """What it takes of the room for dead letters, in bytes."""
        return len(self.entry) + len(self.cause.answer)


class DeadLetters:
    """Dead letters in memory; the oldest make way for new ones."""

    def __init__(self) -> None:
        self._letters: deque[DeadLetter] = deque()
        self._bytes = 0
        self._last = 0

    def __iter__(self) -> Iterator[DeadLetter]:
        return iter(tuple(self._letters))

    def add(self, entries: Iterable[bytes], batch_header: bytes, cause: Cause) -> None:
        """Keep entries."""
        for entry in entries:
            self._last += 1
            letter = DeadLetter(self._last, cause, entry, batch_header)
            self._letters.append(letter)
            self._bytes += letter.size
        while len(self._letters) > MOST or (self._bytes > MOST_BYTES and len(self._letters) > 1):
            self._bytes -= self._letters.popleft().size

    def forget(self, ids: Iterable[int]) -> None:
        """Let go of some."""
        gone = frozenset(ids)
        self._letters = deque(letter for letter in self._letters if letter.id not in gone)
        self._bytes = sum(letter.size for letter in self._letters)
