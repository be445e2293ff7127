"""Statistics that are kept current say what a look at all merged rows says."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runicorn.columns import Frame, build_frame
from runicorn_runs import metric_statistics
from runicorn_runs.metric_statistics import MetricStatistics
from runicorn_runs.metric_totals import MetricTotal, RunTotals

Event = dict[str, Any]


def naive(events: Iterable[Event]) -> RunTotals:
    """Merge by step, then look at every cell."""
    rows: dict[int, Event] = {}
    for event in events:
        if (step := event.get("global_step")) is not None:
            rows.setdefault(int(step), {}).update(event)
    cells: dict[str, list[tuple[int, float]]] = {}
    counted: set[int] = set()
    for step in sorted(rows):
        for name, value in rows[step].items():
            if isinstance(value, bool | int | float) and name not in ("global_step", "time", "stage", "epoch"):
                counted.add(step)
                cells.setdefault(name, []).append((step, float(value)))
    metrics: dict[str, MetricTotal] = {}
    for name, found in cells.items():
        finite = [(step, value) for step, value in found if math.isfinite(value)]
        values = [value for _, value in finite]
        last_step, last = finite[-1] if finite else (None, None)
        diverged = None if math.isfinite(found[-1][1]) else found[-1][0]
        low, high = min(values, default=None), max(values, default=None)
        metrics[name] = MetricTotal(len(found), low, high, last, last_step, diverged)
    return RunTotals(metrics, len(counted), min(counted, default=None), max(counted, default=None))


def fed(batches: list[list[Event]]) -> MetricStatistics:
    state = MetricStatistics()
    frames: list[Frame] = []
    for batch in batches:
        frame = build_frame([1.0] * len(batch), batch)
        frames.append(frame)
        state.add(frame, lambda: frames)
    return state


def check(batches: list[list[Event]]) -> None:
    events = [event for batch in batches for event in batch]
    expected = naive(events)
    assert fed(batches).totals() == expected
    assert MetricStatistics.of([build_frame([1.0] * len(events), events)]).totals() == expected


values = st.one_of(
    st.floats(allow_nan=True), st.integers(-9, 9), st.sampled_from([True, None, "text", math.nan, math.inf, 1e308])
)
steps = st.one_of(st.integers(-3, 12), st.sampled_from([None, 10**30, 2.7, True, -(10**25)]))
events = st.builds(
    lambda step, cells: cells if step is None else {**cells, "global_step": step},
    steps,
    st.dictionaries(st.sampled_from(["loss", "acc", "time", "stage", "epoch"]), values, max_size=3),
)


@settings(max_examples=150)
@given(st.lists(st.lists(events, min_size=1, max_size=5), max_size=8))
@example([[{"global_step": 1, "loss": 1.0}], [{"global_step": 1, "loss": "text"}]])
@example([[{"global_step": 5, "loss": math.nan}], [{"global_step": 4, "loss": 1.0}], [{"global_step": 5, "loss": 2.0}]])
def test_any_batches_in_any_order_come_to_what_the_merged_rows_say(batches: list[list[Event]]) -> None:
    check(batches)


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.integers(1, 7), st.integers(1, 300), st.sampled_from([0, 3, 40]))
def test_runs_that_go_back_are_followed_through_small_windows(seed: int, rows: int, size: int, disorder: int) -> None:
    choose = random.Random(seed)
    order = [step + choose.randint(-disorder, disorder) for step in range(300)]
    order += [step for begin in (250, 100) for step in range(begin, 320)]
    logged = [{"global_step": step, choose.choice("ab"): choose.gauss(0, 1)} for step in order]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metric_statistics, "_WINDOW_ROWS", rows)
        check([logged[i : i + size] for i in range(0, len(logged), size)])


@pytest.mark.parametrize("order", ["repeated", "disordered", "resumed"])
def test_a_long_run_is_read_again_only_where_it_goes_back(order: str) -> None:
    steps = {
        "repeated": [i // 7 for i in range(8_000)],
        "disordered": [i ^ 5 for i in range(8_000)],
        "resumed": [*range(5_000), *range(4_000, 7_000)],
    }[order]
    state, frames, reads = MetricStatistics(), [], 0

    def stored() -> list[Frame]:
        nonlocal reads
        reads += 1
        return frames

    for begin in range(0, len(steps), 100):
        batch = [{"global_step": step, "loss": float(step % 13)} for step in steps[begin : begin + 100]]
        frames.append(build_frame([1.0] * len(batch), batch))
        state.add(frames[-1], stored)
    assert state.totals() == naive({"global_step": step, "loss": float(step % 13)} for step in steps)
    assert reads <= 1
