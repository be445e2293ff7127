"""Asks for one path again and again while something else is going on: `python -m benchmarks.prober URL PATH`.

In a process of its own, so that what the measuring process does delays no answer. It prints an empty line once it is
warm, and at the end of its input the seconds that each request took.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from time import perf_counter, sleep

from benchmarks.client import Client
from benchmarks.figures import Times
from benchmarks.processes import hear, running, tell
from benchmarks.served import Served

_PAUSE_S = 0.001


def probed(server: Served, path: str, during: Callable[[], object]) -> Times:
    """How long a path takes while something else is going on."""
    with running("benchmarks.prober", server.url, path) as process:
        hear(process)
        during()
        tell(process)
        return Times(json.loads(hear(process)))


def main() -> None:
    """Ask until the standard input ends."""
    url, path = sys.argv[1:3]
    client = Client(url)
    for _ in range(20):
        client.get(path)
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), ended.set()), daemon=True).start()
    print(flush=True)
    times: list[float] = []
    while not ended.is_set() or not times:
        start = perf_counter()
        client.get(path)
        times.append(perf_counter() - start)
        sleep(_PAUSE_S)
    print(json.dumps(times), flush=True)


if __name__ == "__main__":
    main()
