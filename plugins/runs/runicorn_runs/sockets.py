"""A WebSocket whose other end may be gone at any moment: every way in which that shows is one exception."""

from __future__ import annotations

import contextlib
from typing import Any

from litestar import WebSocket
from litestar.exceptions import WebSocketDisconnect

Socket = WebSocket[Any, Any, Any]

# OSError: the ASGI server says so when a frame is sent to a client that left. RuntimeError: it has closed the connection
# itself already (shutdown, unanswered pings), and nobody was told yet.
_GONE = (WebSocketDisconnect, OSError, RuntimeError)


class ClientGone(Exception):
    """The client left; nothing can be sent any more."""


class SocketClient:
    """The client of a WebSocket that only sends; what it receives is ignored."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket

    async def accept(self) -> None:
        """Finish the handshake. ClientGone."""
        try:
            await self._socket.accept()
        except _GONE as error:
            raise ClientGone from error

    async def send(self, text: str) -> None:
        """Send one frame; waits while the client is slow. ClientGone."""
        try:
            await self._socket.send_text(text)
        except _GONE as error:
            raise ClientGone from error

    async def close(self, code: int) -> None:
        """Close the connection, with an empty reason. ClientGone."""
        try:
            await self._socket.close(code)
        except _GONE as error:
            raise ClientGone from error

    async def gone(self) -> None:
        """Return when the client has left. What it sends until then is read and ignored."""
        with contextlib.suppress(*_GONE):
            while (await self._socket.receive())["type"] != "websocket.disconnect":
                pass
