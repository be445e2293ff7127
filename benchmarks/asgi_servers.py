"""Uvicorn and granian with the same small application behind the real guard: `python -m benchmarks.asgi_servers`.

Prints the table of `docs/adr/0001-asgi-server.md`. Granian is no dependency of Runicorn: without it there is only uvicorn.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from benchmarks.client import Client
from benchmarks.processes import memory

_REQUESTS = 3000
_CLIENTS = 8
_SECONDS = 4.0
_SOCKETS = 20


def make_application() -> Any:
    """One route and one WebSocket behind the guard, with rate limits that are counted but never reached."""
    from litestar import Litestar, Router, WebSocket, get, websocket

    from runicorn.host import PluginHost
    from runicorn.server.access_log import AccessLog
    from runicorn.server.app import Application
    from runicorn.server.clients import Clients
    from runicorn.server.error_budget import ErrorBudget
    from runicorn.server.guard import Guard
    from runicorn.server.origins import Callers
    from runicorn.server.rate_limit_table import LimitTable
    from runicorn.server.rate_limits import RateLimiter
    from runicorn.server.routing import RouteTable
    from runicorn.server.serving import Serving
    from runicorn.server.sockets import OpenSockets

    @get("/api/small")
    async def small() -> dict[str, int]:
        return {"answer": 42}

    @websocket("/api/ws")
    async def talk(socket: WebSocket[Any, Any, Any]) -> None:
        await socket.accept()
        while True:
            await socket.receive_text()

    router = Router("/", route_handlers=[small, talk])
    litestar = Litestar([router], logging_config=None, openapi_config=None)
    sockets, log = OpenSockets(), AccessLog(open(os.devnull, "w"))  # noqa: SIM115 — open as long as the process
    guard = Guard(
        litestar,
        litestar,
        routes=RouteTable(litestar, [(None, router)]),
        callers=Callers("127.0.0.1"),
        clients=Clients(),
        limiter=RateLimiter(LimitTable(built_in={"GET /api/small": 10**9})),
        access_log=log,
        sockets=sockets,
        budget=ErrorBudget(),
    )
    return Application(guard, Serving(PluginHost(), Path(), Path()), sockets, log)


def run_uvicorn(port: int) -> int:
    """Serve with uvicorn as `runicorn serve` does."""
    from runicorn.server.listening import listen
    from runicorn.server.worker import run_server

    return run_server(make_application(), listen("127.0.0.1", port), lambda _: None)


def run_granian(port: int) -> int:
    """Serve with granian: one worker, one blocking and one runtime thread, uvloop."""
    granian: Any = importlib.import_module("granian")
    constants: Any = importlib.import_module("granian.constants")
    granian.Granian(
        "benchmarks.asgi_servers:make_application",
        factory=True,
        address="127.0.0.1",
        port=port,
        interface=constants.Interfaces.ASGI,
        loop=constants.Loops.uvloop,
        log_enabled=False,
    ).serve()
    return 0


@contextlib.contextmanager
def served(name: str) -> Generator[tuple[subprocess.Popen[bytes], int]]:
    """A server in a process of its own, accepting connections."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.asgi_servers", name, str(port)])
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        yield process, port
    finally:
        process.kill()
        process.wait()


def latencies(port: int) -> list[float]:
    """Seconds of each of many requests by one client."""
    client = Client(f"http://127.0.0.1:{port}")
    for _ in range(200):
        client.get("/api/small")
    times: list[float] = []
    for _ in range(_REQUESTS):
        start = time.perf_counter()
        client.get("/api/small")
        times.append(time.perf_counter() - start)
    client.close()
    return sorted(times)


def rate(port: int) -> float:
    """Requests per second with eight clients in a process of their own."""
    command = [sys.executable, "-m", "benchmarks.asgi_servers", "clients", str(port)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def run_clients(port: int) -> int:
    """Print the requests per second that eight connections get, kept busy by one process."""
    import selectors

    request = b"GET /api/small HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % port
    selector = selectors.DefaultSelector()
    for _ in range(_CLIENTS):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(request)
        selector.register(connection, selectors.EVENT_READ)
    answered, start = 0, time.perf_counter()
    while time.perf_counter() - start < _SECONDS:
        for key, _ in selector.select():
            key.fileobj.recv(65536)  # type: ignore[union-attr]  # a socket was registered
            answered += 1
            key.fileobj.sendall(request)  # type: ignore[union-attr]  # a socket was registered
    print(answered / (time.perf_counter() - start))
    return 0


def shutdown(process: subprocess.Popen[bytes], port: int) -> tuple[float, set[int]]:
    """Seconds from SIGTERM to the end with open WebSockets, and the codes with which they were closed."""
    codes: set[int] = set()

    def read(client: Any) -> None:
        try:
            client.recv()
        except ConnectionClosed as closed:
            codes.add(closed.rcvd.code if closed.rcvd else 1006)

    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(f"ws://127.0.0.1:{port}/api/ws")) for _ in range(_SOCKETS)]
        threads = [threading.Thread(target=read, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        start = time.perf_counter()
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        took = time.perf_counter() - start
        for thread in threads:
            thread.join()
    return took, codes


def measure(name: str) -> dict[str, str]:
    """The figures of one server."""
    with served(name) as (process, port):
        times = latencies(port)
        per_second = rate(port)
        used = memory(process.pid)
        took, codes = shutdown(process, port)
        status = process.returncode
    return {
        "p50, 1 client": f"{statistics.median(times) * 1e3:.3f} ms",
        "p99, 1 client": f"{times[int(len(times) * 0.99)] * 1e3:.3f} ms",
        f"requests/s, {_CLIENTS} clients": f"{per_second:.0f}",
        f"SIGTERM with {_SOCKETS} WebSockets": f"{took:.2f} s, status {status}",
        "close code": ", ".join(map(str, sorted(codes))),
        "memory (PSS, all processes)": f"{used / 1e6:.0f} MB",
    }


def main() -> int:
    """Print the table."""
    if len(sys.argv) == 3:
        modes: dict[str, Callable[[int], int]] = {
            "uvicorn": run_uvicorn,
            "granian": run_granian,
            "clients": run_clients,
        }
        return modes[sys.argv[1]](int(sys.argv[2]))
    installed = [name for name in ("uvicorn", "granian") if importlib.util.find_spec(name) is not None]
    results = {name: measure(name) for name in installed}
    print("| | " + " | ".join(results) + " |\n|---|" + "---|" * len(results))
    for what in results["uvicorn"]:
        print(f"| {what} | " + " | ".join(result[what] for result in results.values()) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
