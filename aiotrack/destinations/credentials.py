"""Secrets that a destination is given: texts, or functions that give one and are asked again."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Awaitable, Callable
from typing import Any

import attrs

from aiotrack.model.clock import Clock, SystemClock
from aiotrack.model.errors import ConfigError
from aiotrack.model.settings import seconds
from aiotrack.model.tasks import PLUGIN_ERRORS, OwnTask, is_async
from aiotrack.model.worker import off_loop

__all__ = ["Credential", "CredentialError", "Credentials", "Secret", "SecretText"]

EARLY = 0.1  # of the time that a secret holds: it is asked for again before it ends, but
MOST_EARLY = 30.0  # seconds at most


def _check_time(_: object, field: attrs.Attribute[float | None], value: float | None) -> None:
    if value is not None:
        seconds(field.name, value, infinite=True)


@attrs.frozen
class Secret:
    """What a function that gives a secret returns where it knows how long that holds.

    `expires_in` is in seconds from now; None: until a server refuses it. Its text is in no repr. Raises ConfigError.
    """

    text: str = attrs.field(repr=False)
    expires_in: float | None = attrs.field(default=None, validator=_check_time)


SecretText = str | Callable[[], str | Secret | Awaitable[str | Secret]]
"""A secret, or a function without arguments that gives it, `async def` or not; a plain one is called in a thread."""


class CredentialError(Exception):
    """A secret can't be had now; the text says of which option, and why, without the secret."""


class Credential:
    """One secret option; `text` is the secret of now, empty until a function has been asked.

    `check` returns a text as it is sent, or raises ConfigError.
    """

    def __init__(self, option: str, given: SecretText, check: Callable[[str, object], str]) -> None:
        self.option = option
        self.text = ""
        self.renew_at = -math.inf
        self.ends_at = -math.inf
        self._check = check
        self._ask = given if callable(given) else None
        if self._ask is None:
            self.text = check(option, given)
        elif not _takes_nothing(self._ask):
            raise ConfigError(f"{option}: expected text, or a function without arguments, got one that wants some")

    def __repr__(self) -> str:
        return f"<Credential {self.option!r}>"

    @property
    def changes(self) -> bool:
        """Whether there is a function to ask."""
        return self._ask is not None

    async def ask(self, clock: Clock, timeout: float) -> bool:
        """Ask the function; tell whether the secret is another one now. Raises CredentialError."""
        began = clock.monotonic()
        own = OwnTask()
        try:
            async with asyncio.timeout(timeout):
                text, expires_in = self._read(await self._answer())
        except TimeoutError:
            raise CredentialError(f"{self.option}: its function gave no answer within {timeout:g} s") from None
        except ConfigError as exc:
            where = "" if str(exc).startswith(self.option) else f"{self.option}: "
            raise CredentialError(f"{where}{exc} (from its function)") from None
        except PLUGIN_ERRORS as exc:  # foreign code; its own text may hold the secret
            own.reraise(exc)
            raise CredentialError(f"{self.option}: its function raised {type(exc).__name__}") from None
        is_new = text != self.text
        self.text = text
        self.ends_at = began + expires_in
        self.renew_at = self.ends_at - min(EARLY * expires_in, MOST_EARLY)
        return is_new

    async def _answer(self) -> Any:
        ask: Any = self._ask
        answer = await ask() if is_async(ask) else await off_loop(f"secret {self.option}", ask)
        return await answer if inspect.isawaitable(answer) else answer

    def _read(self, answer: object) -> tuple[str, float]:
        secret = answer if isinstance(answer, Secret) else Secret(answer) if isinstance(answer, str) else None
        if secret is None or not isinstance(secret.text, str):
            raise ConfigError(f"{self.option}: expected text or a Secret, got {type(answer).__name__}")
        if not secret.text.strip():
            raise ConfigError(f"{self.option}: expected text, got an empty one")
        expires_in = math.inf if secret.expires_in is None else secret.expires_in
        return self._check(self.option, secret.text.strip()), expires_in


class Credentials:
    """The secrets of one destination."""

    def __init__(self) -> None:
        self._changing: list[Credential] = []
        self._clock: Clock = SystemClock()
        self._one_at_a_time = asyncio.Lock()
        self.version = 0
        """Becomes another number with each change."""

    def add(self, option: str, given: SecretText, check: Callable[[str, object], str]) -> Credential:
        """Take over an option; `check(option, text)` returns a text as it is sent. Raises ConfigError."""
        credential = Credential(option, given, check)
        if credential.changes:
            self._changing.append(credential)
        return credential

    @property
    def change(self) -> bool:
        """Whether any of them is a function."""
        return bool(self._changing)

    def start(self, clock: Clock) -> None:
        """Begin to be asked on this event loop."""
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()

    async def refresh(self, timeout: float) -> None:
        """Ask for what is not known yet, or holds no longer. Raises CredentialError."""
        if self._changing:
            async with self._one_at_a_time:
                now = self._clock.monotonic()
                for credential in self._changing:
                    if credential.renew_at <= now:
                        try:
                            await self._ask(credential, timeout)
                        except CredentialError:
                            if credential.ends_at <= now:
                                raise

    async def renew(self, version: int, timeout: float) -> bool:
        """Ask again after a server has refused those of this version; tell whether there are others now.

        Raises CredentialError.
        """
        if not self._changing:
            return False
        async with self._one_at_a_time:
            if self.version == version:
                for credential in self._changing:
                    await self._ask(credential, timeout)
            return self.version != version

    async def _ask(self, credential: Credential, timeout: float) -> None:
        if await credential.ask(self._clock, timeout):
            self.version += 1


def _takes_nothing(function: Callable[..., object]) -> bool:
    try:
        inspect.signature(function).bind()
    except TypeError:
        return False
    except ValueError:  # a built-in one that does not tell
        return True
    return True
