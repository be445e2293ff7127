"""A small HTTP client over one kept-alive connection, so that little of what is measured is its own.

How little says `python -m benchmarks.loopback`, which answers prepared bytes; the table's heading states the result.
"""

from __future__ import annotations

import selectors
import socket
from time import perf_counter
from typing import cast
from urllib.parse import urlsplit

import msgspec

_RECEIVE_BYTES = 1 << 18
_IDLE_S = 2.0  # servers hang up after some seconds; a new connection takes 0.1 ms


class Answer(msgspec.Struct, frozen=True):
    """One answer. `etag` is empty if it has none."""

    status: int
    etag: bytes
    body: bytes


def requests_per_second(url: str, path: str, clients: int, seconds: float, *, status: int = 200) -> float:
    """The rate at which `clients` connections are answered, each of which asks again at once. All answers must be `status`."""
    connections = [Client(url) for _ in range(clients)]
    waiting = selectors.DefaultSelector()
    for client in connections:
        waiting.register(client, selectors.EVENT_READ)
        client.send(path)
    answered = 0
    start = perf_counter()
    while (elapsed := perf_counter() - start) < seconds:
        for key, _ in waiting.select():
            client = cast(Client, key.fileobj)
            if client.receive().status != status:
                raise ConnectionError(f"{path} is not answered")
            answered += 1
            client.send(path)
    for client in connections:
        client.close()
    return answered / elapsed


class Client:
    """Asks one server, one request at a time. Not safe for threads."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._host = (address.hostname or "127.0.0.1", address.port or 80)
        self._socket = self._connect()
        self._buffer = bytearray(_RECEIVE_BYTES)
        self._view = memoryview(self._buffer)
        self._used = perf_counter()

    def get(self, path: str, etag: bytes = b"") -> Answer:
        """One GET; with `etag` the server may answer 304. ConnectionError if it hangs up."""
        if perf_counter() - self._used > _IDLE_S:
            self._socket.close()
            self._socket = self._connect()
        self.send(path, etag)
        answer = self.receive()
        self._used = perf_counter()
        return answer

    def fileno(self) -> int:
        """The connection's descriptor, for waiting until an answer begins."""
        return self._socket.fileno()

    def send(self, path: str, etag: bytes = b"") -> None:
        """Send a GET; `receive` must follow before the next one."""
        host, port = self._host
        condition = b"If-None-Match: %s\r\n" % etag if etag else b""
        self._socket.sendall(
            b"GET %s HTTP/1.1\r\nHost: %s:%d\r\n%s\r\n" % (path.encode(), host.encode(), port, condition)
        )

    def receive(self) -> Answer:
        """The answer to what was sent."""
        filled = self._receive(0)
        while (end := self._buffer.find(b"\r\n\r\n", 0, filled)) < 0:
            filled = self._receive(filled)
        head = bytes(self._view[:end]).lower()
        start = end + 4
        status = int(head[9:12])
        if status == 304:
            body = b""
        elif b"\r\ntransfer-encoding: chunked" in head:
            while not self._buffer.endswith(b"\r\n0\r\n\r\n", start - 2, filled):
                filled = self._receive(filled)
            body = _joined(self._view[start:filled])
        else:
            length = start + int(_header(head, b"content-length") or 0)
            while filled < length:
                filled = self._receive(filled)
            body = bytes(self._view[start:length])
        return Answer(status, _header(bytes(self._view[:end]), b"etag"), body)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _connect(self) -> socket.socket:
        connection = socket.create_connection(self._host, timeout=120)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _receive(self, filled: int) -> int:
        if filled == len(self._buffer):
            larger = bytearray(2 * len(self._buffer))
            larger[:filled] = self._buffer
            self._buffer, self._view = larger, memoryview(larger)
        count = self._socket.recv_into(self._view[filled:])
        if not count:
            raise ConnectionError("the server closed the connection")
        return filled + count


def _header(head: bytes, name: bytes) -> bytes:
    at = head.lower().find(b"\r\n" + name + b":")
    if at < 0:
        return b""
    value = head[at + len(name) + 3 :]
    return value.partition(b"\r\n")[0].strip()


def _joined(chunked: memoryview) -> bytes:
    data, parts, position = bytes(chunked), list[bytes](), 0
    while True:
        line_end = data.index(b"\r\n", position)
        size = int(data[position:line_end].partition(b";")[0], 16)
        if not size:
            return b"".join(parts)
        parts.append(data[line_end + 2 : line_end + 2 + size])
        position = line_end + 4 + size
