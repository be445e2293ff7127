"""An attempt to connect that another thread may end: a host that says nothing holds it for a quarter of a minute else."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Generator


class Attempt:
    """Attempts to connect, one after the other, until `end` is called."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._socket: socket.socket | None = None
        self._has_ended = threading.Event()

    @property
    def has_ended(self) -> bool:
        """Whether nobody wants the connection any more."""
        return self._has_ended.is_set()

    def use(self, connection: socket.socket) -> None:
        """Go on with this socket. ConnectionAbortedError after the end."""
        with self._mutex:
            if self.has_ended:
                raise ConnectionAbortedError
            self._socket = connection

    @contextlib.contextmanager
    def under_way(self) -> Generator[None]:
        """One attempt; behind it, made or not, the socket is not touched any more."""
        try:
            yield
        finally:
            with self._mutex:
                self._socket = None

    def end(self) -> None:
        """Have the thread that waits on the socket fail at once, and every later attempt."""
        with self._mutex:
            self._has_ended.set()
            if self._socket is not None:
                with contextlib.suppress(OSError):  # not connected yet: then closing it is enough
                    self._socket.shutdown(socket.SHUT_RDWR)  # closing alone wakes nobody
                self._socket.close()
