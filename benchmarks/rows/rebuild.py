"""A replay beside a server that goes on answering: how long requests take meanwhile, and whether the answers are the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

from benchmarks.client import Client
from benchmarks.figures import Times, amount, duration, mebibytes, timed
from benchmarks.processes import hear, memory, running
from benchmarks.served import own_environment, serving
from benchmarks.table import Row
from benchmarks.workspace import Store, Workspace

_LOOK_EVERY = 100


def while_serving(space: Workspace) -> Iterator[Row]:
    """The row for requests about one run while all read models of long runs are built again, and handed over."""
    store = space.long
    assert space.long_replay
    state = space.directory / "state-long"
    path = f"/api/runs/{store.runs[0].run_id}"
    with serving(store.root, state) as server:
        client = Client(server.url)
        server.wait_until_level(client, store.shape.runs)
        before = _answers(client, store)
        idle = Times([timed(lambda: client.get(path)) for _ in range(space.size.requests)])
        times: list[float] = []
        peak = 0
        arguments = ("events", "replay", "--storage", str(store.root), "--state-dir", str(state), "--json")
        with running("runicorn", *arguments, environment=own_environment(state)) as process:
            while process.poll() is None:
                times += (timed(lambda: client.get(path)) for _ in range(_LOOK_EVERY))
                peak = max(peak, memory(process.pid))
            report = json.loads(hear(process))
        after = _answers(client, store)
        client.close()
    busy = Times(times)
    rate = store.shape.all_events / report["seconds"]
    allowed = max(2 * idle.p99, 0.003)
    is_same = before == after
    yield Row(
        name="replay-served",
        what=f"`GET /api/runs/{{id}}` while {amount(store.shape.points)} points are replayed and handed over, 1 client",
        budget="p99 ≤ the larger of 2× idle and 3 ms; the same answers",
        measured=(
            f"{busy} of {amount(len(busy))} requests (idle: {idle}); answers {'identical' if is_same else 'DIFFER'};"
            f" {amount(rate)} events/s in {duration(report['seconds'])}, at most {mebibytes(peak)}"
        ),
        met=busy.p99 <= allowed and is_same if space.size.name == "full" else None,
        failed=not is_same,
        values={
            "p50": busy.p50, "p99": busy.p99, "idle_p50": idle.p50, "idle_p99": idle.p99, "events_per_s": rate,
            "peak_memory": float(peak),
        },
    )  # fmt: skip


def _answers(client: Client, store: Store) -> str:
    """A digest of the list, of each run, and of every point of the first one."""
    digest = hashlib.sha256()
    points = f"/api/runs/{store.runs[0].run_id}/metrics_step"
    for path in ("/api/runs", points, *(f"/api/runs/{run.run_id}" for run in store.runs)):
        answer = client.get(path)
        if answer.status != 200:
            raise RuntimeError(f"{path} is answered with {answer.status}")
        digest.update(answer.body)
    return digest.hexdigest()
