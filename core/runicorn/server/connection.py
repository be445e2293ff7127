"""One HTTP connection, with the limits that uvicorn's lacks: how long a request's head may be, and how long it may take.

| limit | value | answer |
|---|---|---|
| address of a request | 16 KiB | 414 |
| all headers with the address | 64 KiB | 431 |
| from the connection, or a request's first byte, to the end of its headers | 10 s | 408 |
| without a byte of a body that is being waited for | 30 s | 408 |
| between two requests | 5 s (uvicorn's) | the connection is closed |

What is no HTTP at all is answered with 400. All of that happens before there is a request, so these answers carry none of
the headers of an answer, and the connection ends with them.
"""

from __future__ import annotations

import http
from asyncio import TimerHandle, Transport
from typing import cast

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from runicorn.server.errors import ErrorBody

MAX_URL = 16 << 10
"""Bytes of the address of a request."""

MAX_HEAD = 64 << 10
"""Bytes of the address and the headers of a request."""

HEAD_TIMEOUT_S = 10.0
BODY_TIMEOUT_S = 30.0

_MAX_HEADERS = 200


class LimitedConnection(HttpToolsProtocol):
    """Uvicorn's connection over httptools, which has neither limits on sizes nor any on time while a request comes in."""

    _timer: TimerHandle | None = None
    _head_bytes = 0
    _is_in_head = True
    _has_body_news = False
    _is_refused = False

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn's own narrows it
        """A client has come; it has to say something soon."""
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has left."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Something came in."""
        if self._is_refused:
            return
        if self._is_in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._is_in_head and self._head_bytes > MAX_HEAD:
            self._refuse(414 if len(self.url_so_far) > MAX_URL else 431)

    @property
    def url_so_far(self) -> bytes:
        """The address, as far as it has come in."""
        return getattr(self, "url", b"")

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        if self._timer is None:
            self._wait_for_head()

    def on_headers_complete(self) -> None:
        """A request begins, unless its head is too long."""
        self._head_bytes = 0
        if self._is_refused:
            return
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if len(self.url) > MAX_URL:
            self._refuse(414)
        elif size > MAX_HEAD or len(self.headers) > _MAX_HEADERS:
            self._refuse(431)
        else:
            self._is_in_head = False
            self._wait_for_body()
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._has_body_news = True
        if not self._is_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole; another one may follow."""
        self._stop_timer()
        self._is_in_head = True
        if not self._is_refused:
            super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        """From here on it is a WebSocket, which has pings."""
        self._stop_timer()
        if not self._is_refused:
            super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        """Answer to what is no HTTP."""
        self._refuse(400, msg)

    def _wait_for_head(self) -> None:
        self._timer = self.loop.call_later(HEAD_TIMEOUT_S, self._refuse, 408)

    def _wait_for_body(self) -> None:
        self._stop_timer()
        self._has_body_news = False
        self._timer = self.loop.call_later(BODY_TIMEOUT_S, self._look_at_body)

    def _look_at_body(self) -> None:
        # While the handler does not read, nothing can come: that is not the client's fault.
        if self._has_body_news or self.flow.read_paused:
            self._wait_for_body()
        else:
            self._refuse(408)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, status: int, detail: str | None = None) -> None:
        """End the connection, with an answer if nothing else is being answered."""
        self._is_refused = True
        self._stop_timer()
        if self.transport.is_closing():
            return
        # That of this request, or of the one before while this one's head comes in.
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if cycle is None or (cycle.response_complete if self._is_in_head else not cycle.response_started):
            phrase = http.HTTPStatus(status).phrase
            body = msgspec.json.encode(ErrorBody(detail=detail or phrase))
            head = f"HTTP/1.1 {status} {phrase}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
            self.transport.write(f"{head}connection: close\r\n\r\n".encode() + body)
        self.transport.close()
