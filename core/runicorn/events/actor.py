"""Who decides what a command records: the way on which it came in, and whose process it is.

A server does not know who calls it, and addresses are nobody's name: of a request only the way is recorded.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from contextvars import ContextVar
from functools import cache
from typing import Literal, TypeVar

import msgspec

from runicorn.events.envelope import Payload

Way = Literal["sdk", "cli", "http", "server"]
"""A program that uses the library; the command line; a request to a server; a server of its own accord, such as a plugin."""

_MOST_CHARACTERS = 256


class Actor(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who decided something."""

    way: str
    """One of `Way`; later versions may know others."""
    user: str | None = None
    """Whose process it was, by the name that the operating system has for them; of requests that is nobody."""


class Decision(Payload, frozen=True, kw_only=True):
    """Base of events that record what somebody decided. Whoever appends them leaves `by` out: `signed` adds it."""

    by: Actor | msgspec.UnsetType = msgspec.UNSET
    """Who that was; unset in events of versions that did not record it."""


P = TypeVar("P", bound=Payload)

_way: ContextVar[Way] = ContextVar("runicorn_way", default="sdk")


@contextlib.contextmanager
def acting(way: Way) -> Generator[None]:
    """Commands that are given in here, also in tasks and by `asyncio.to_thread`, come in on this way."""
    token = _way.set(way)
    try:
        yield
    finally:
        _way.reset(token)


def signed(payload: P) -> P:
    """The payload with who decides now, if it is a decision that does not say so already."""
    if not isinstance(payload, Decision) or payload.by is not msgspec.UNSET:
        return payload
    way = _way.get()
    return msgspec.structs.replace(payload, by=Actor(way, user_of_process() if way in ("sdk", "cli") else None))


@cache
def user_of_process() -> str | None:
    """The name of the user whose process this is; None if the system has none."""
    import getpass  # training processes import this module

    try:
        return getpass.getuser()[:_MOST_CHARACTERS] or None
    except (KeyError, OSError):  # there is no such user, as in some containers
        return None
