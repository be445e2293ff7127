"""`GET /api/runs/{run_id}/metrics_step` of a long run, and what the event loop's other guests notice of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from time import sleep

from benchmarks import baseline
from benchmarks.client import Client
from benchmarks.figures import Times, alternated, amount, duration, timed
from benchmarks.processes import hear, running, tell
from benchmarks.served import Served, serving
from benchmarks.table import Row
from benchmarks.workspace import Workspace

_FEW = 4


def metrics_by_step(space: Workspace) -> Iterator[Row]:
    """Rows for the answer and for the longest stall. The stall is the slowest of health requests sent meanwhile."""
    store = space.stepped
    points = store.shape.points
    is_full = points == 200_000
    path = f"/api/runs/{store.runs[0].run_id}/metrics_step"
    with serving(store.root, space.directory / "state-stepped") as server:
        client = Client(server.url)
        server.wait_until_level(client, 1)

        def ask() -> None:
            assert client.get(path).status == 200

        first = timed(ask)
        ours, theirs = alternated(ask, lambda: baseline.metrics_step(store.event_files[0]), rounds=space.size.rounds)
        answer = client.get(path)
        assert answer.body.count(b'"global_step":') == points
        unchanged = Times([timed(lambda: client.get(path, answer.etag)) for _ in range(space.size.rounds)])
        times = 3 * space.size.rounds
        idle = health_meanwhile(server, lambda: sleep(times * ours.p50))
        meanwhile = health_meanwhile(server, lambda: [ask() for _ in range(times)])
        client.close()
    yield Row(
        name="metrics-step",
        what=f"`metrics_step` of {amount(points)} points × 1 metric ({len(answer.body) / 1e6:.1f} MB)",
        budget="≤ 150 ms",
        measured=f"{ours}; the first {duration(first)}, unchanged {duration(unchanged.p50)}",
        baseline=duration(theirs.p50),
        ratio=theirs.p50 / ours.p50,
        met=ours.p50 <= 0.150 if is_full else None,
        values={"p50": ours.p50, "first": first, "unchanged": unchanged.p50, "baseline": theirs.p50},
    )
    yield Row(
        name="metrics-step",
        what="… health requests meanwhile: the longest is the longest stall of the event loop",
        budget="≤ 20 ms",
        measured=f"{meanwhile}, longest {duration(meanwhile.worst)} of {len(meanwhile)} (idle: {duration(idle.worst)})",
        baseline=duration(theirs.p50),
        met=meanwhile.worst <= 0.020 if is_full else None,
        values={"p50": meanwhile.p50, "p99": meanwhile.p99, "longest": meanwhile.worst, "idle_longest": idle.worst},
    )


def plots(space: Workspace) -> Iterator[Row]:
    """Rows for the downsampled curves of a long run: with one metric, four and twenty."""
    points = space.size.plotted_events
    is_full = points == 1_000_000
    for metrics, budget in ((1, 0.010), (4, 0.010), (20, 0.040)):
        store = space.plotted(metrics)
        path = f"/api/v2/experiments/{store.runs[0].run_id}/metrics/fast?downsample=1000"
        with serving(store.root, space.directory / f"state-plotted-{metrics}") as server:
            client = Client(server.url)
            server.wait_until_level(client, 1)
            answer = json.loads(client.get(path).body)
            assert answer["source_points"] == points
            assert len(answer["rows"]) == min(1000, points)
            ours, theirs = alternated(
                lambda client=client, path=path: client.get(path),
                lambda store=store: baseline.metrics_step(store.event_files[0]),
                rounds=space.size.rounds if metrics <= _FEW else 3,
            )
            client.close()
        yield Row(
            name="metrics-fast",
            what=f"`metrics/fast?downsample=1000` of {amount(points)} events × {metrics} metrics",
            budget=f"≤ {duration(budget)}",
            measured=f"{ours}",
            baseline=duration(theirs.p50),
            ratio=theirs.p50 / ours.p50,
            met=ours.p50 <= budget if is_full else None,
            values={"p50": ours.p50, "baseline": theirs.p50},
        )


def health_meanwhile(server: Served, action: Callable[[], object]) -> Times:
    """Times of health requests, one a millisecond from another process, while `action` runs."""
    with running("benchmarks.prober", server.url, "/api/health") as prober:
        hear(prober)
        action()
        tell(prober)
        return Times(json.loads(hear(prober)))
