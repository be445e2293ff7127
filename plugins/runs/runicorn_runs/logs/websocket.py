"""Live logs over a WebSocket.

Server to client: text frames, one log line each. What the client sends is ignored. Host and Origin are checked by the
server before; rate limits of requests do not count WebSockets.
"""

from __future__ import annotations

import contextlib
import re
from typing import Any

from litestar import WebSocket
from litestar.exceptions import WebSocketDisconnect

from runicorn_runs.logs.stream import ClientGone, LogStreams

Socket = WebSocket[Any, Any, Any]

_OFFSET = re.compile(r"\+?[0-9]{1,19}", re.ASCII)

# OSError: the ASGI server says so when a frame is sent to a client that left. RuntimeError: it has closed the connection
# itself already (shutdown, unanswered pings), and nobody was told yet.
_GONE = (WebSocketDisconnect, OSError, RuntimeError)


async def serve_socket(streams: LogStreams, socket: Socket, run_id: str, *, counted_as: str | None = None) -> None:
    """Accept a WebSocket and stream a run's log to it, from the byte of its `offset` parameter if there is one."""
    client = SocketClient(socket)
    with contextlib.suppress(ClientGone):
        await client.accept()
        offset = socket.query_params.getall("offset", [""])[-1]
        if offset and not _OFFSET.fullmatch(offset):
            await client.send("[error] Invalid value for offset: not a number of bytes")
            await client.close(1000)
            return
        await streams.serve(client, run_id, offset=int(offset) if offset else None, counted_as=counted_as)


class SocketClient:
    """A WebSocket as a `LogClient`."""

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
