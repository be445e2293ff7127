"""`GET /api/runs`: the whole list, the list after one run has changed, and the list that has not changed."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks import baseline
from benchmarks.client import Client
from benchmarks.figures import Times, alternated, amount, duration, timed
from benchmarks.served import serving
from benchmarks.table import Row
from benchmarks.workspace import Workspace
from runicorn.events.append import StreamWriter
from runicorn.events.envelope import encode_event

_PATH = "/api/runs"


def list_of_runs(space: Workspace) -> Iterator[Row]:
    """Rows for the list over HTTP. The first server on the store also shows what adopting 0.4.0's files takes."""
    store = space.listed
    count = store.shape.runs
    is_full = count == 10_000
    with serving(store.root, space.listed_state) as server:
        client = Client(server.url)
        server.wait_until_level(client, count)
        adopted = time.monotonic() - server.started
        ours, theirs = alternated(
            lambda: _whole_list(client), lambda: baseline.list_runs(store.root), rounds=space.size.rounds
        )
        many = Times([timed(lambda: _whole_list(client)) for _ in range(max(5, space.size.requests // 20))])
        changed = Times([_after_change(space, client, number) for number in range(space.size.rounds)])
        etag = client.get(_PATH).etag
        unchanged = Times([timed(lambda: _not_modified(client, etag)) for _ in range(space.size.requests)])
        size = len(client.get(_PATH).body)
        client.close()
    yield Row(
        name="runs",
        what=f"`GET /api/runs` with {amount(count)} runs ({size / 1e6:.1f} MB)",
        budget="≤ 10 ms",
        measured=f"{many}; {duration(changed.p50)} after one run has changed",
        baseline=duration(theirs.p50),
        ratio=theirs.p50 / ours.p50,
        met=many.p50 <= 0.010 if is_full else None,
        values={"p50": many.p50, "p99": many.p99, "after_change": changed.p50, "baseline": theirs.p50},
    )
    yield Row(
        name="runs",
        what="… unchanged: 304",
        budget="≤ 1 ms",
        measured=str(unchanged),
        baseline=duration(theirs.p50),
        ratio=theirs.p50 / unchanged.p50,
        met=unchanged.p50 <= 0.001 if is_full else None,
        values={"p50": unchanged.p50, "p99": unchanged.p99},
    )
    yield Row(
        name="runs",
        what=f"adopting {amount(count)} runs that 0.4.0 wrote: start of the server to the complete list",
        measured=f"{duration(adopted)}, {amount(count / adopted)} runs/s",
        values={"seconds": adopted, "runs_per_s": count / adopted},
    )


def _whole_list(client: Client) -> None:
    answer = client.get(_PATH)
    assert answer.status == 200


def _not_modified(client: Client, etag: bytes) -> None:
    assert client.get(_PATH, etag).status == 304


def _after_change(space: Workspace, client: Client, number: int) -> float:
    """Seconds for the list when one run has a new best value, which the read model knows already."""
    run = next(run for run in space.listed.runs if run.status == "finished")
    before = client.get(_PATH).etag
    ts = time.time()
    writer = StreamWriter(space.listed.root / run.key / "events.jsonl")
    writer.append(encode_event(ts, "run.summarized", {"update": {"best_metric_value": ts, "round": number}}))
    writer.close()
    assert client.get(f"/api/runs/{run.run_id}").status == 200  # exact for this run: the event is applied now
    seconds = timed(lambda: _whole_list(client))
    assert client.get(_PATH).etag != before
    return seconds
