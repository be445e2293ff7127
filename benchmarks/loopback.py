"""What the client and the loopback device cost: a server that answers prepared bytes, in a process of its own.

`python -m benchmarks.loopback` prints its URL, and serves `/<n>` with a body of n bytes until its input ends.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading
from functools import cache

from benchmarks.client import Client
from benchmarks.figures import Times, timed

SMALL, LARGE = 200, 3_000_000


def client_cost(requests: int) -> tuple[Times, Times]:
    """Times of requests for 200 bytes, and for 3 MB, from a server that does nothing."""
    command = [sys.executable, "-m", "benchmarks.loopback"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        client = Client(process.stdout.readline().strip())
        times: list[Times] = []
        for size, count in ((SMALL, requests), (LARGE, max(3, requests // 20))):
            for _ in range(3):
                client.get(f"/{size}")
            times.append(Times([timed(lambda size=size: client.get(f"/{size}")) for _ in range(count)]))
        client.close()
        process.stdin.close()
    return times[0], times[1]


def main() -> None:
    """Serve until the standard input ends."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    threading.Thread(target=_serve, args=(listener,), daemon=True).start()
    sys.stdin.read()


@cache
def _answer(size: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (size, b"x" * size)


def _serve(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while request := connection.recv(4096):
            match = re.match(rb"GET /(\d+)", request)
            connection.sendall(_answer(int(match[1]) if match else 0))
        connection.close()


if __name__ == "__main__":
    main()
