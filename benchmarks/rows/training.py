"""What the training process pays: for each `log()`, and for a whole run. No server is running."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Times, amount
from benchmarks.processes import hear, running
from benchmarks.table import Row
from benchmarks.workspace import Workspace


def log_calls(space: Workspace) -> Iterator[Row]:
    """The row for `log()` with two metrics."""
    count = space.size.log_calls
    ours, theirs = _measure(space.fresh("calls"), "calls", count)
    yield Row(
        name="log",
        what=f"`log()` of two metrics in the training process, {amount(count)} calls",
        budget="p50 ≤ 10 µs, p99 ≤ 50 µs",
        measured=str(ours),
        baseline=str(theirs),
        ratio=theirs.p50 / ours.p50,
        met=(ours.p50 <= 10e-6 and ours.p99 <= 50e-6) if space.size.name == "full" else None,
        values={"p50": ours.p50, "p99": ours.p99, "baseline_p50": theirs.p50, "baseline_p99": theirs.p99},
    )


def lifecycles(space: Workspace) -> Iterator[Row]:
    """The row for `init`, one `log`, `finish`, without the capture of the environment."""
    ours, theirs = _measure(space.fresh("lives"), "lives", space.size.lifecycles)
    yield Row(
        name="lifecycle",
        what="`init` + one `log` + `finish` per run, `capture_env=False`",
        budget="≤ 3 ms",
        measured=str(ours),
        baseline=f"{theirs} (without its pause and disk sync: 0.4.0 itself took 105 ms)",
        ratio=theirs.p50 / ours.p50,
        met=ours.p50 <= 0.003 if space.size.name == "full" else None,
        values={"p50": ours.p50, "p99": ours.p99, "baseline_p50": theirs.p50},
    )


def _measure(storage: Path, mode: str, count: int) -> tuple[Times, Times]:
    with running("benchmarks.trainer", mode, "--storage", str(storage), "--count", str(count)) as trainer:
        times = json.loads(hear(trainer))
    return Times(times["ours"]), Times(times["theirs"])
