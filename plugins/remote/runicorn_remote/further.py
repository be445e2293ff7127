"""Further transports to a machine that is connected: OpenSSH allows ten channels on each, and four mirrors need more."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from runicorn_remote.attempt import Attempt
from runicorn_remote.connector import Connected
from runicorn_remote.errors import ChannelRefused, ConfigUnusable, ConnectFailed, ConnectionLost, OperationTimeout

if TYPE_CHECKING:
    from paramiko.transport import Transport

T = TypeVar("T")

MAX_FURTHER = 8
"""Enough for 16 mirrors; a server that allows less than that many of them is not pressed."""


class Further:
    """The transports beside the first one. They are made when the server refuses a channel, and stay until `clear`."""

    def __init__(self, connect: Callable[[Attempt], Connected]) -> None:
        """`connect` logs in once more, as the first time."""
        self._connect = connect
        self._attempt = Attempt()
        self._growing = threading.Lock()
        self._mutex = threading.Lock()
        self._all: list[Connected] = []

    def opened(self, opening: Callable[[Transport], T]) -> T:
        """What `opening` makes on the first transport that allows it. ChannelRefused if there can be no other."""
        tried: set[int] = set()
        found = self._on_those_there(opening, tried)
        if found is None:
            with self._growing:
                found = self._on_those_there(opening, tried) or [self._on_another(opening)]
        return found[0]

    def clear(self) -> None:
        """Close all of them; new ones may be made."""
        with self._mutex:
            gone, self._all = self._all, []
        for connected in gone:
            connected.close()

    def close(self) -> None:
        """Close all of them for good, one that is being made included."""
        self._attempt.end()
        self.clear()

    def _on_those_there(self, opening: Callable[[Transport], T], tried: set[int]) -> list[T] | None:
        """One result, or None; `tried` are those that have been asked."""
        with self._mutex:
            those = [connected for connected in self._all if id(connected) not in tried]
        for connected in those:
            tried.add(id(connected))
            try:
                return [opening(connected.transport)]
            except ChannelRefused:
                continue
            except (ConnectionLost, OperationTimeout):  # this one is of no use any more; the first one may be
                with self._mutex:
                    self._all = [other for other in self._all if other is not connected]
                connected.close()
        return None

    def _on_another(self, opening: Callable[[Transport], T]) -> T:
        with self._mutex:
            if len(self._all) >= MAX_FURTHER or self._attempt.has_ended:
                raise ChannelRefused
        try:
            made = self._connect(self._attempt)
        except (ConnectFailed, ConfigUnusable) as error:  # a password for one login, or too many logins
            raise ChannelRefused from error
        try:
            result = opening(made.transport)
        except BaseException:
            made.close()
            raise
        with self._mutex:
            self._all.append(made)
        if self._attempt.has_ended:
            self.clear()
        return result
