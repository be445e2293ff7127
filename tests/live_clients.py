"""Clients of live events that read with a deadline: Server-Sent Events and WebSocket, with the same messages."""

from __future__ import annotations

import contextlib
import json
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.serving import Server

DEADLINE_S = 20.0
Message = dict[str, Any]


class LiveClient:
    """What a client has heard. `closed_with` is the WebSocket's code; for Server-Sent Events 0 says that the answer ended."""

    def __init__(self) -> None:
        self.closed_with: int | None = None
        self.over = threading.Event()
        self._messages: queue.Queue[Message] = queue.Queue()

    def next(self) -> Message:
        """The next message that is no heartbeat; AssertionError if none comes in time."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                message = self._messages.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError("no message came") from None
            if message["type"] != "heartbeat":
                return message

    def until(self, condition: Callable[[Message], object]) -> list[Message]:
        """The messages up to the first one that fulfils a condition."""
        found: list[Message] = []
        deadline = time.monotonic() + DEADLINE_S
        while not found or not condition(found[-1]):
            assert time.monotonic() < deadline, f"heard only {found}"
            found.append(self.next())
        return found

    def is_silent(self, seconds: float) -> bool:
        """Whether nothing comes for a while."""
        with contextlib.suppress(queue.Empty):
            self._messages.get(timeout=seconds)
            return False
        return True

    def wait_for_end(self) -> int | None:
        """Wait until the server has ended the stream; `closed_with`."""
        assert self.over.wait(DEADLINE_S), "the stream is still open"
        return self.closed_with

    def close(self) -> None:
        """Leave."""
        raise NotImplementedError


class SseClient(LiveClient):
    """A client of `/api/events/stream`."""

    def __init__(self, server: Server, query: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.last_id = ""
        self._http = httpx.Client(base_url=server.url, timeout=None, verify=False)
        self._response = self._http.send(
            self._http.build_request("GET", f"/api/events/stream?{query}", headers=headers), stream=True
        )
        self.status = self._response.status_code
        self.headers = self._response.headers
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(httpx.HTTPError, OSError, RuntimeError):
            for line in self._response.iter_lines():
                if line.startswith("id: "):
                    self.last_id = line[4:]
                elif line.startswith("data: "):
                    message = json.loads(line[6:])
                    assert message["id"] == self.last_id
                    self._messages.put(message)
            self.closed_with = 0
        self.over.set()

    def close(self) -> None:
        stream = self._response.extensions.get("network_stream")
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        self._thread.join(DEADLINE_S)
        self._http.close()


class SocketClient(LiveClient):
    """A client of `/api/events/ws`."""

    def __init__(self, server: Server, query: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__()
        url = f"{server.url.replace('http', 'ws')}/api/events/ws?{query}"
        self._closing = contextlib.ExitStack()
        self.connection = self._closing.enter_context(connect(url, additional_headers=headers, close_timeout=1))
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            while True:
                self._messages.put(json.loads(self.connection.recv()))
        except ConnectionClosed:
            self.closed_with = self.connection.close_code
        self.over.set()

    def close(self) -> None:
        self._closing.close()
        self._thread.join(DEADLINE_S)


Listen = Callable[..., LiveClient]


@pytest.fixture(params=[SseClient, SocketClient], ids=["sse", "websocket"])
def listen(request: pytest.FixtureRequest) -> Iterator[Listen]:
    """Make clients: `listen(server, query, headers)`; they have heard the first message when that returns."""
    clients: list[LiveClient] = []

    def start(server: Server, query: str = "", **options: Any) -> LiveClient:
        client: LiveClient = request.param(server, query, **options)
        clients.append(client)
        return client

    yield start
    for client in clients:
        client.close()
