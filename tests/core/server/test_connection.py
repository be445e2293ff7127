"""Connections with too much or too little to say: the server refuses them, and serves everybody else meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from runicorn.server.connection import MAX_HEAD, MAX_URL
from tests.recorded import wait_until_live
from tests.serving import Server, wait_until
from tests.stores import make_run, metrics_event

DEADLINE_S = 60.0
RUN_ID = "20260101_000000_aaaaaa"
IDLE_SOCKETS = 1000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("connections") / "root"
    make_run(root, f"p/a/runs/{RUN_ID}", events=metrics_event(loss=1.0), meta={"project": "p", "name": "a"})
    server = Server(root, "--rate-limit", "off")
    wait_until_live(server)
    yield server
    server.stop()
    assert "Traceback" not in server.log, server.log


def opened(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE_S)


def answer(client: socket.socket) -> tuple[int, dict[str, object]]:
    """Status and body; the connection is closed behind them."""
    data = b""
    with contextlib.suppress(ConnectionResetError):  # it was closed before it had read everything
        while piece := client.recv(65536):
            data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    assert b"connection: close" in head.lower()
    return int(head.split(b" ")[1]), json.loads(body)


def is_served(server: Server) -> bool:
    return server.http.get("/api/runs").status_code == 200


@pytest.mark.parametrize(
    ("request_head", "status", "detail"),
    [
        (b"GET /api/runs?q=" + b"x" * MAX_URL + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414, "Request-URI Too Long"),
        (
            b"GET /api/runs HTTP/1.1\r\nHost: localhost\r\nX-A: " + b"a" * MAX_HEAD + b"\r\n\r\n",
            431,
            "Request Header Fields Too Large",
        ),
        (
            b"GET /api/runs HTTP/1.1\r\nHost: localhost\r\n" + b"X-A: a\r\n" * 300 + b"\r\n",
            431,
            "Request Header Fields Too Large",
        ),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "Invalid HTTP request received."),
    ],
    ids=["address", "header", "headers", "no HTTP"],
)
def test_a_request_whose_head_is_too_long_is_refused(
    server: Server, request_head: bytes, status: int, detail: str
) -> None:
    with opened(server) as client:
        client.sendall(request_head)
        assert answer(client) == (status, {"detail": detail})
    assert is_served(server)


@pytest.mark.parametrize("start", [b"GET /", b"GET / HTTP/1.1\r\nX-A: "], ids=["address", "header"])
def test_a_head_without_an_end_is_refused_before_it_fills_the_memory(server: Server, start: bytes) -> None:
    with opened(server) as client, contextlib.suppress(ConnectionError):
        client.sendall(start)
        for _ in range(1 << 14):  # 64 MiB, if nobody said no
            client.sendall(b"a" * 4096)
        raise AssertionError("it was read to its end")
    assert is_served(server)


def test_long_but_lawful_requests_are_answered(server: Server) -> None:
    answered = server.http.get("/api/runs", params={"x": "y" * (MAX_URL - 200)}, headers={"x-a": "b" * 30_000})
    assert answered.status_code == 200


def test_many_requests_on_one_connection_are_answered_in_order(server: Server) -> None:
    request = b"GET /api/runs/%s HTTP/1.1\r\nHost: localhost\r\n%s\r\n"
    with opened(server) as client:
        client.sendall(request % (RUN_ID.encode(), b"") * 50 + request % (b"none", b"Connection: close\r\n"))
        data = b""
        while piece := client.recv(65536):
            data += piece
    assert data.count(b"HTTP/1.1 200") == 50
    assert data.endswith(b'{"detail":"Run not found: none"}')


def test_a_client_that_leaves_within_its_body_is_no_bug(server: Server) -> None:
    head = b"POST /api/experiments/tag HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with opened(server) as client:
        client.sendall(head + b"Content-Length: 9\r\n\r\n{")
        wait_until(lambda: is_served(server), "somebody else")
    wait_until(lambda: '"path":"/api/experiments/tag"' in server.log, "its end in the log")
    assert "Internal" not in server.log


@pytest.mark.slow
@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"GET /api/runs HTTP/1.1\r\nHost: local", id="half a head"),
        pytest.param(
            b"POST /api/experiments/tag HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 9\r\n\r\n{",
            id="half a body",
            marks=pytest.mark.slow(60),
        ),
    ],
)
def test_a_client_that_does_not_go_on_is_not_waited_for(server: Server, said: bytes) -> None:
    with opened(server) as client:
        client.sendall(said)
        assert is_served(server)
        status, _ = answer(client)
        assert status == 408 or (
            said.startswith(b"POST") and status == 200
        )  # a route that ignores its body need not wait
    assert is_served(server)


@pytest.mark.slow
def test_hundreds_of_slow_clients_take_nothing_from_others_and_are_gone_in_the_end(server: Server) -> None:
    clients = [opened(server) for _ in range(500)]
    for client in clients:
        client.sendall(b"GET /api/runs HTTP/1.1\r\nX-Slow: ")
    for _ in range(20):
        assert is_served(server)
    for client in clients:
        assert answer(client)[0] == 408
        client.close()
    assert is_served(server)


def test_a_message_of_a_websocket_may_not_be_large(server: Server) -> None:
    with connect(f"ws://127.0.0.1:{server.port}/api/events/ws") as client:
        client.send("x" * (1 << 20))
        with pytest.raises(ConnectionClosed) as closed:
            list(client)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
    assert is_served(server)


@pytest.mark.slow
def test_a_flood_of_messages_holds_nobody_else_up(server: Server) -> None:
    with connect(f"ws://127.0.0.1:{server.port}/api/events/ws") as client:
        client.recv(timeout=DEADLINE_S)
        for number in range(20_000):
            client.send("x" * 1000)
            if number % 2000 == 0:
                assert is_served(server)
    assert is_served(server)


@pytest.mark.slow
def test_a_thousand_idle_websockets_are_held_and_leave_nothing_behind(server: Server, tmp_path: Path) -> None:
    process = psutil.Process(server.process.pid)
    before = process.num_fds()

    async def hold() -> None:
        url = f"ws://127.0.0.1:{server.port}/api/runs/{RUN_ID}/logs/ws"
        sockets = await asyncio.gather(*(connect_async(url, open_timeout=DEADLINE_S) for _ in range(IDLE_SOCKETS)))
        assert process.num_fds() >= before + IDLE_SOCKETS
        for _ in range(10):
            assert await asyncio.to_thread(is_served, server)
        await asyncio.gather(*(socket.close() for socket in sockets))

    asyncio.run(hold())
    wait_until(lambda: process.num_fds() <= before + 20, "what was open for them")
    assert is_served(server)
