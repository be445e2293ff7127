"""How the guard answers by itself, and adds headers to the answers of the application."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar.types import Message, Receive, Send

from runicorn.errors import RunicornError
from runicorn.server.errors import ErrorBody, error_body

Headers = list[tuple[bytes, bytes]]


class Exchange:
    """One answer: adds `headers` when it starts, and remembers its status (0: not started)."""

    __slots__ = ("_send", "headers", "status")

    def __init__(self, send: Send) -> None:
        self._send = send
        self.headers: Headers = []
        self.status = 0

    async def send(self, message: Message) -> None:
        """Pass a message of the application on."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), *self.headers]
        await self._send(message)

    async def refuse(self, error: RunicornError, method: str) -> None:
        """Answer with an error."""
        await self.body(error.status, error_body(error), method)

    async def body(self, status: int, body: ErrorBody, method: str) -> None:
        """Answer with an error's body; HEAD gets its headers only."""
        content = msgspec.json.encode(body)
        self.headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(content)),
            *self.headers,
        ]
        await self.finish(status, b"" if method == "HEAD" else content)

    async def finish(self, status: int, content: bytes) -> None:
        """Send a whole answer."""
        await self.send({"type": "http.response.start", "status": status, "headers": []})  # type: ignore[typeddict-item]  # no trailers
        await self._send({"type": "http.response.body", "body": content, "more_body": False})


async def refuse_handshake(scope: Any, receive: Receive, send: Send, error: RunicornError) -> None:
    await receive()
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008, "reason": ""})  # the server answers 403
        return
    body = msgspec.json.encode(error_body(error))
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    start: Any = {"type": "websocket.http.response.start", "status": error.status, "headers": headers}
    end: Any = {"type": "websocket.http.response.body", "body": body}
    await send(start)
    await send(end)
