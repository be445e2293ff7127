"""`GET /api/export/{run_id}/csv` of a long run: how fast it comes, and what the server needs for it."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from time import sleep

import psutil

from benchmarks import baseline
from benchmarks.client import Client
from benchmarks.figures import Times, amount, duration, mebibytes, timed
from benchmarks.rows.metrics import health_meanwhile
from benchmarks.served import serving
from benchmarks.table import Row
from benchmarks.workspace import Workspace


def csv_of_a_long_run(space: Workspace) -> Iterator[Row]:
    """Rows for the rate with the memory of the API process, and for the longest stall of the event loop."""
    store = space.long
    shape = store.shape
    run = store.runs[0]
    path = f"/api/export/{run.run_id}/csv"
    points = shape.events * shape.metrics
    rounds = min(space.size.rounds, 3)
    with serving(store.root, space.directory / "state-long-export") as server:
        client = Client(server.url)
        server.wait_until_level(client, shape.runs)
        client.get("/api/runs")
        with _peak_memory(server.pid) as memory:
            ours = Times([timed(lambda: client.get(path)) for _ in range(rounds)])
        answer = client.get(path)
        assert answer.body.count(b"\r\n") == shape.events + 1
        meanwhile = health_meanwhile(server, lambda: client.get(path))
        client.close()
    theirs = timed(lambda: baseline.export_csv(store.root / run.key / "events.jsonl"))
    megabytes = len(answer.body) / 1e6
    yield Row(
        name="export-csv",
        what=f"CSV of {amount(points)} points ({amount(shape.events)} rows, {megabytes:.1f} MB)",
        measured=f"{ours}: {megabytes / ours.p50:.1f} MB/s; memory of the API process {mebibytes(memory[0])} before,"
        f" at most {mebibytes(memory[1])} meanwhile",
        baseline=duration(theirs),
        ratio=theirs / ours.p50,
        values={"p50": ours.p50, "bytes": len(answer.body), "memory": memory[0], "peak": memory[1], "baseline": theirs},
    )
    yield Row(
        name="export-csv",
        what="… health requests meanwhile: the longest is the longest stall of the event loop",
        budget="≤ 20 ms",
        measured=f"{meanwhile}, longest {duration(meanwhile.worst)} of {len(meanwhile)}",
        met=meanwhile.worst <= 0.020 if space.size.name == "full" else None,
        values={"p50": meanwhile.p50, "p99": meanwhile.p99, "longest": meanwhile.worst},
    )


@contextmanager
def _peak_memory(pid: int) -> Generator[list[int]]:
    """Resident bytes of one process: before, and at most while the context is open."""
    process = psutil.Process(pid)
    found = [process.memory_info().rss] * 2
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            found[1] = max(found[1], process.memory_info().rss)
            sleep(0.005)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()
