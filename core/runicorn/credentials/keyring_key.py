"""The key of stored secrets in the system keyring, where the package `keyring` is installed and finds a real one.

A keyring may wait for somebody to type a password, and D-Bus may not answer at all: it is asked in a thread of its own,
and does not count when that takes too long. Back ends that store nothing, or plain text, do not count either.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

from runicorn.credentials.key_file import is_key, new_key

logger = logging.getLogger("runicorn.credentials")

T = TypeVar("T")

_SERVICE = "runicorn"
_USER = "credentials-key"
_TIMEOUT_S = 5.0
_AGAIN_S = 60.0  # how long an unusable keyring is not asked again
_USABLE_PRIORITY = 1.0  # what `keyring` itself calls recommended; plain-text files have less


class KeyringUnusable(Exception):
    """There is no keyring, or it does not answer."""


class SystemKeyring:
    """The keyring of the user that runs this process."""

    def __init__(self, *, timeout_s: float = _TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._unusable_until = 0.0
        self._stuck: threading.Thread | None = None

    def read(self) -> bytes | None:
        """The key; None if the keyring has none. KeyringUnusable."""
        return self._ask(_read)

    def read_or_make(self) -> bytes:
        """The key, a new one if there is none; hold a lock that keeps others from making one. KeyringUnusable."""
        return self._ask(_read_or_make)

    def _ask(self, question: Callable[[Any], T]) -> T:
        if time.monotonic() < self._unusable_until or (self._stuck is not None and self._stuck.is_alive()):
            raise KeyringUnusable
        answer: list[T] = []
        problem: list[str] = []

        def ask() -> None:
            try:
                answer.append(question(_back_end()))
            except BaseException as error:  # a back end may raise anything, and may not end a thread of ours
                problem.append(type(error).__name__)

        # A daemon: a keyring that waits for a password must not keep this process from ending.
        thread = threading.Thread(target=ask, name="keyring", daemon=True)
        thread.start()
        thread.join(self._timeout_s)
        is_stuck = thread.is_alive()  # asked before the answer is looked at: it may come in between
        if answer:
            return answer[0]
        self._unusable_until = time.monotonic() + _AGAIN_S
        if is_stuck:
            self._stuck = thread
            logger.warning("the system keyring does not answer: doing without")
        elif problem != [KeyringUnusable.__name__]:
            logger.warning("the system keyring cannot be used (%s): doing without", problem[0])
        raise KeyringUnusable


def _back_end() -> Any:
    try:
        import keyring
        from keyring.backends.chainer import ChainerBackend
    except ImportError:
        raise KeyringUnusable from None
    found = keyring.get_keyring()
    candidates: list[Any] = [found]
    if isinstance(found, ChainerBackend):
        candidates = cast(list[Any], list(found.backends))
    for candidate in candidates:
        if float(candidate.priority) >= _USABLE_PRIORITY:
            return candidate
    raise KeyringUnusable


def _read(back_end: Any) -> bytes | None:
    value: object = back_end.get_password(_SERVICE, _USER)
    if value is None:
        return None
    key = str(value).encode()
    if not is_key(key):
        raise ValueError("not a key")
    return key


def _read_or_make(back_end: Any) -> bytes:
    key = _read(back_end)
    if key is None:
        back_end.set_password(_SERVICE, _USER, new_key().decode())
        key = _read(back_end)
    if key is None:
        raise ValueError("it forgets")
    return key
