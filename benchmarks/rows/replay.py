"""Cold replay: all read models are built from nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks import baseline
from benchmarks.figures import amount, duration, mebibytes
from benchmarks.replaying import Replay
from benchmarks.table import Row
from benchmarks.workspace import Store, Workspace, progress


def long_runs(space: Workspace) -> Iterator[Row]:
    """Few long runs: what an event costs."""
    is_full = space.long.shape.points == 10_000_000
    yield _row(space, "replay-long", space.long, space.long_replay, budget=400_000, is_full=is_full)


def short_runs(space: Workspace) -> Iterator[Row]:
    """Many short runs: what a run costs; and what it costs to look at their directories, too."""
    shape = space.short.shape
    is_full = shape.runs == 100_000
    yield _row(space, "replay-short", space.short, space.short_replay, budget=150_000, is_full=is_full)
    first = space.short_first_build
    yield Row(
        name="replay-short",
        what=f"… by a server that starts without read models, and looks at {amount(shape.runs)} directories for changed files",
        measured=(
            f"{amount(shape.all_events / first.seconds)} events/s, {amount(shape.runs / first.seconds)} runs/s"
            f" in {duration(first.seconds)}; at most {mebibytes(first.peak_memory)}"
        ),
        values={
            "events_per_s": shape.all_events / first.seconds,
            "runs_per_s": shape.runs / first.seconds,
            "seconds": first.seconds,
            "peak_memory": first.peak_memory,
        },
    )


def _row(space: Workspace, name: str, store: Store, replay: Replay, *, budget: int, is_full: bool) -> Row:
    shape = store.shape
    rate = shape.all_events / replay.seconds
    baseline_rate = _baseline_rate(space, name, store)
    return Row(
        name=name,
        what=f"cold replay of {amount(shape.runs)} runs × {amount(shape.events)} events × {shape.metrics} metrics",
        budget=f"≥ {amount(budget)} events/s, constant memory",
        measured=(
            f"{amount(rate)} events/s, {amount(shape.runs / replay.seconds)} runs/s in {duration(replay.seconds)};"
            f" at most {mebibytes(replay.peak_memory)}"
        ),
        baseline=f"{amount(baseline_rate)} events/s",
        ratio=rate / baseline_rate,
        met=rate >= budget if is_full else None,
        values={
            "events_per_s": rate,
            "runs_per_s": shape.runs / replay.seconds,
            "seconds": replay.seconds,
            "peak_memory": replay.peak_memory,
            "baseline_events_per_s": baseline_rate,
        },
    )


def _baseline_rate(space: Workspace, name: str, store: Store) -> float:
    progress(f"the baseline: one database row per value, {space.size.baseline_events} events")
    start = time.perf_counter()
    database = space.directory / f"baseline-{name}.db"
    count = baseline.index_events(store.event_files, database, space.size.baseline_events)
    return count / (time.perf_counter() - start)
