"""The proxy that makes a link slow: it delays, changes nothing, and counts what passes."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import pytest

from benchmarks.delaying_proxy import delaying
from benchmarks.rows import remote
from benchmarks.sizes import SIZES
from benchmarks.workspace import Workspace
from tests.sshd import SshdNotFound

DELAY_S = 0.02


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that says what it is told."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection:
            while data := connection.recv(1 << 16):
                connection.sendall(data)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield int(listener.getsockname()[1])
    listener.close()


def exchanged(connection: socket.socket, data: bytes) -> bytes:
    threading.Thread(target=connection.sendall, args=(data,), daemon=True).start()
    answer = b""
    while len(answer) < len(data):
        piece = connection.recv(1 << 16)
        assert piece, "the proxy hung up"
        answer += piece
    return answer


def test_each_round_trip_takes_both_delays_and_is_counted(echo: int) -> None:
    with delaying("127.0.0.1", echo, DELAY_S) as proxy:
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=30) as connection:
            start = perf_counter()
            for _ in range(5):
                assert exchanged(connection, b"x" * 100) == b"x" * 100
            assert perf_counter() - start >= 5 * 2 * DELAY_S
            counts = proxy.counts()
            assert (counts.connections, counts.sent, counts.received, counts.turns) == (1, 500, 500, 5)
            content = os.urandom(3 << 20)
            assert exchanged(connection, content) == content
            since = proxy.counts().since(counts)
        assert (since.connections, since.sent, since.received) == (0, 3 << 20, 3 << 20)


def test_what_one_side_ends_ends_on_the_other(echo: int) -> None:
    with delaying("127.0.0.1", echo, DELAY_S) as proxy:
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=30) as connection:
            connection.sendall(b"last words")
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while piece := connection.recv(100):
                answer += piece
        assert answer == b"last words"


def test_without_an_ssh_server_the_rows_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(**options: object) -> None:
        raise SshdNotFound("sshd")

    monkeypatch.setattr(remote, "Sshd", missing)
    space = Workspace(tmp_path, SIZES["tiny"])
    rows = [*remote.mirror_and_push(space), *remote.health(space)]
    assert [(row.name, row.failed) for row in rows] == [("remote", False), ("remote-health", False)]
    assert all("sshd is not installed" in row.measured for row in rows)
