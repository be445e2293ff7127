"""What one HTTP client notices while the projector ingests as fast as it can."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.client import Client
from benchmarks.figures import Times, amount, timed
from benchmarks.served import Served, serving
from benchmarks.table import Row
from benchmarks.workspace import Workspace

_LOOK_EVERY = 25
_DEADLINE_S = 120.0


def requests_during_ingest(space: Workspace) -> Iterator[Row]:
    """The row for requests about one run of a large list: idle, then while long runs are moved into the root."""
    store, arriving = space.listed, space.long
    path = f"/api/runs/{store.runs[0].run_id}"
    moved = [project for project in arriving.root.iterdir() if not project.name.startswith(".")]
    with serving(store.root, space.listed_state) as server:
        client = Client(server.url)
        server.wait_until_level(client, store.shape.runs)
        for _ in range(50):
            client.get(path)
        idle = Times([timed(lambda: client.get(path)) for _ in range(space.size.requests)])
        for project in moved:
            # Beside the projects of the same name: everything arrives at once, with one rename each.
            project.rename(store.root / f"arriving-{project.name}")
        start = time.monotonic()
        times = list(_until_level(server, client, path, store.shape.runs + arriving.shape.runs))
        seconds = time.monotonic() - start
        client.close()
    for project in moved:
        (store.root / f"arriving-{project.name}").rename(project)
    busy = Times(times)
    rate = arriving.shape.all_events / seconds
    allowed = max(2 * idle.p99, 0.003)
    yield Row(
        name="ingest",
        what=f"`GET /api/runs/{{id}}` during full-speed ingest ({amount(rate)} events/s), 1 client",
        budget="p99 ≤ the larger of 2× idle and 3 ms",
        measured=f"{busy} of {amount(len(busy))} requests (idle: {idle})",
        met=busy.p99 <= allowed if space.size.name == "full" else None,
        values={
            "p50": busy.p50, "p99": busy.p99, "idle_p50": idle.p50, "idle_p99": idle.p99, "events_per_s": rate
        },
    )  # fmt: skip


def _until_level(server: Served, client: Client, path: str, runs: int) -> Iterator[float]:
    """Times of requests until everything has been applied."""
    deadline = time.monotonic() + _DEADLINE_S
    while time.monotonic() < deadline:
        for _ in range(_LOOK_EVERY):
            yield timed(lambda: client.get(path))
        if server.is_live(client) and client.get("/api/runs").body.count(b'"run_dir":') >= runs:
            return
    raise TimeoutError("what was moved into the root was not applied")
