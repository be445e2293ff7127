"""Live logs over a WebSocket.

Server to client: text frames, one log line each. What the client sends is ignored. Host and Origin are checked by the
server before; rate limits of requests do not count WebSockets.
"""

from __future__ import annotations

import contextlib
import re

from runicorn_runs.logs.stream import LogStreams
from runicorn_runs.sockets import ClientGone, Socket, SocketClient

_OFFSET = re.compile(r"\+?[0-9]{1,19}", re.ASCII)


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
