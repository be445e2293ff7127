"""What it takes: disk for read models, memory for all processes, time until a restarted server answers."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks import baseline
from benchmarks.client import Client
from benchmarks.figures import Times, amount, duration, mebibytes, timed
from benchmarks.served import serving
from benchmarks.table import Row
from benchmarks.workspace import Store, Workspace

_BYTES_PER_POINT = 10
_BYTES_PER_RUN = 2560


def storage(space: Workspace) -> Iterator[Row]:
    """Rows for the read models of long and of short runs; the baseline is the size of the event files themselves."""
    for store, replay in ((space.long, space.long_replay), (space.short, space.short_replay)):
        shape = store.shape
        allowed = _BYTES_PER_POINT * shape.points + _BYTES_PER_RUN * shape.runs
        files = sum(path.stat().st_size for path in store.event_files)
        per_point, per_run = replay.stored / shape.points, replay.stored / shape.runs
        measured = (
            f"{per_point:.2f} bytes/point"
            if store is space.long
            else f"{amount(per_run)} bytes/run, of which {amount(per_run - _BYTES_PER_POINT * shape.points / shape.runs)}"
            f" beyond {_BYTES_PER_POINT} per point"
        )
        yield Row(
            name="storage",
            what=f"read models of {amount(shape.runs)} runs × {amount(shape.events)} events × {shape.metrics} metrics",
            budget="≤ 10 bytes per point + ≤ 2.5 KiB per run",
            measured=f"{measured}; {mebibytes(replay.stored)} ({replay.stored / allowed:.0%} of the budget)",
            baseline=f"events.jsonl: {files / shape.points:.1f} bytes/point, {mebibytes(files)}",
            ratio=files / replay.stored,
            met=replay.stored <= allowed if space.size.name == "full" else None,
            values={"bytes": replay.stored, "per_point": per_point, "per_run": per_run, "events_bytes": files},
        )


def serve_memory(space: Workspace) -> Iterator[Row]:
    """The row for all processes of a server with a warm state: after start, and after the whole list was read."""
    store = space.short
    with serving(store.root, space.short_state) as server:
        client = Client(server.url)
        _first_run(client, store)
        server.wait_until_live(client)
        started = server.memory()
        for run in store.runs[: space.size.requests]:
            client.get(f"/api/runs/{run.run_id}/metrics_step")
        read = server.memory()
        client.get("/api/runs")
        listed = server.memory()
        client.close()
    yield Row(
        name="memory",
        what=f"memory of `serve`, all processes, with {amount(store.shape.runs)} runs and {amount(store.shape.points)} points",
        budget="≤ 200 MiB",
        measured=f"{mebibytes(started)} after start, {mebibytes(read)} after reading {space.size.requests} runs,"
        f" {mebibytes(listed)} after `GET /api/runs`",
        met=read <= 200 << 20 if space.size.name == "full" else None,
        values={"started": started, "read": read, "listed": listed},
    )


def warm_start(space: Workspace) -> Iterator[Row]:
    """The row for a restart: from the start of the process to the first answer about a run."""
    store = space.short
    firsts: list[float] = []
    listening: list[float] = []
    lists: list[float] = []
    for _ in range(3):
        with serving(store.root, space.short_state) as server:
            client = Client(server.url)
            _first_run(client, store)
            firsts.append(time.monotonic() - server.started)
            listening.append(server.listening_s)
            client.get("/api/runs")
            lists.append(time.monotonic() - server.started)
            client.close()
    first = Times(firsts)
    theirs = timed(lambda: baseline.list_runs(store.root))
    yield Row(
        name="start",
        what=f"start to the first answer about a run, warm state of {amount(store.shape.runs)} runs",
        budget="≤ 1.5 s",
        measured=f"{duration(first.p50)} (listening after {duration(Times(listening).p50)},"
        f" whole list after {duration(Times(lists).p50)})",
        baseline=f"no state: {duration(theirs)} for every list",
        met=first.p50 <= 1.5 if space.size.name == "full" else None,
        values={"first": first.p50, "listening": Times(listening).p50, "list": Times(lists).p50, "baseline": theirs},
    )


def _first_run(client: Client, store: Store) -> None:
    deadline = time.monotonic() + 60
    while client.get(f"/api/runs/{store.runs[-1].run_id}").status != 200:
        if time.monotonic() > deadline:
            raise TimeoutError("the run is not served")
        time.sleep(0.005)
