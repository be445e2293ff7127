"""When something was last heard on a socket: a server from which bytes arrive is not dead, however late its answers are."""

from __future__ import annotations

import socket
import time
from typing import Any


class Heard:
    """A socket, or a channel that behaves like one, which remembers when bytes arrived."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        self.at = time.monotonic()
        """By the monotonic clock."""

    def recv(self, size: int) -> bytes:
        """As of a socket."""
        data = self._stream.recv(size)
        self.at = time.monotonic()
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
