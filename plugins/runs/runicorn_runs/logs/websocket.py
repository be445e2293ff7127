"""The WebSocket route of live logs: `/api/runs/{run_id}/logs/ws`.

Server to client: text frames, one log line each. What the client sends is ignored. Host and Origin are checked by the
server before; rate limits of requests do not count WebSockets.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from typing import Any

from litestar import Response, WebSocket, get, websocket
from litestar.exceptions import WebSocketDisconnect
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler

from runicorn_runs.logs.stream import ClientGone, LogStreams

Socket = WebSocket[Any, Any, Any]

PATH = "/api/runs/{run_id:str}/logs/ws"

_OFFSET = re.compile(r"\+?[0-9]{1,19}", re.ASCII)

# OSError: the ASGI server says so when a frame is sent to a client that left. RuntimeError: it has closed the connection
# itself already (shutdown, unanswered pings), and nobody was told yet.
_GONE = (WebSocketDisconnect, OSError, RuntimeError)


def log_routes(
    streams: Callable[[Socket], LogStreams], counted_as: Callable[[Socket], str | None]
) -> list[ControllerRouterHandler]:
    """The WebSocket, and what a plain GET of its path gets. `streams` gives the streams of this worker.

    `counted_as` gives the client address under which a socket counts against the limit of 10; None: it is not limited.
    """

    @websocket(PATH)
    async def run_log(socket: Socket, run_id: FromPath[str]) -> None:
        await serve_socket(streams(socket), socket, run_id, counted_as=counted_as(socket))

    return [run_log, not_upgraded]


@get(PATH, sync_to_thread=False, status_code=426, summary="Live log (WebSocket)")
def not_upgraded(run_id: FromPath[str]) -> Response[dict[str, str]]:
    """Open this path as a WebSocket: text frames, one log line each, first the last 10 000.

    `?offset=BYTES` starts at that byte of `logs.txt` instead; beyond its end, and for a file that appears later, 0.
    """
    return Response(
        {"detail": "This path is a WebSocket: connect with ws:// or wss://"},
        status_code=426,
        headers={"Upgrade": "websocket"},
    )


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
