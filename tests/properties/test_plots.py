"""Whatever a run holds: what is drawn of it has its ends and extremes, and levels say the same as all rows do."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from runicorn.columns import (
    BUCKETS,
    CHUNK_ROWS,
    SERIES_SCHEMA,
    SeriesInMemory,
    StoredSeries,
    append_events,
    build_frame,
    build_frame_from_lines,
    comparable,
    concat,
    merge_steps,
    metric_rows,
)
from runicorn.events.envelope import Lines
from runicorn.events.run import METRICS
from runicorn_query.plots.drawing import draw
from runicorn_query.plots.formats import encode_json
from runicorn_query.plots.reading import read_curves
from runicorn_query.plots.request import PlotRequest
from runicorn_query.plots.selection import min_max_lttb, select_rows
from runicorn_query.plots.smoothing import Smoothing
from tests.properties.test_columns import files
from tests.reference_plots import expected_columns, expected_rows, extremes

KEY = "p/n/runs/a"
WITHOUT_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)  # an example takes a tenth of a second

curve = st.lists(st.one_of(st.sampled_from([math.nan, 0.0, 1.0, -1.0]), st.floats(allow_infinity=False)), max_size=200)


def database(path: str = ":memory:") -> apsw.Connection:
    db = apsw.Connection(path)
    db.execute("CREATE TABLE stream(id INTEGER PRIMARY KEY, name TEXT)")
    db.execute("INSERT INTO stream VALUES (1, ?)", (KEY,))
    db.execute(SERIES_SCHEMA)
    return db


@given(st.lists(curve, min_size=1, max_size=4), st.integers(1, 40))
@settings(max_examples=300, deadline=None)
def test_chosen_rows_are_few_and_have_ends_and_extremes(curves: list[list[float]], most: int) -> None:
    rows = max(map(len, curves))
    if not rows:
        return
    values = [np.array(c + [math.nan] * (rows - len(c))) for c in curves]
    chosen = select_rows(np.arange(float(rows)), values, values, most).tolist()
    assert len(chosen) == min(rows, most)
    assert chosen == sorted(set(chosen))
    reserved = [rows - 1, 0]
    for metric in values:
        if np.isfinite(metric).any():
            reserved += [int(np.nanargmin(metric)), int(np.nanargmax(metric))]
    assert set(list(dict.fromkeys(reserved))[:most]) <= set(chosen)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=300), st.integers(3, 50))
@settings(max_examples=200, deadline=None)
def test_min_max_lttb_chooses_as_many_points_as_it_may(values: list[float], points: int) -> None:
    chosen = min_max_lttb(np.arange(float(len(values))), np.array(values), points).tolist()
    assert chosen == sorted(set(chosen))
    assert (chosen[0], chosen[-1]) == (0, len(values) - 1)
    assert len(chosen) == min(points, len(values))


def test_fewer_than_three_points_are_refused() -> None:
    with pytest.raises(ValueError, match="three"):
        min_max_lttb(np.arange(9.0), np.arange(9.0), 2)


@pytest.mark.slow(3)
@given(files, st.integers(1, 9), st.sampled_from([None, ("loss",), ("acc", "nothing", "loss")]), st.booleans())
@settings(max_examples=200, deadline=None)
def test_any_file_is_drawn_as_the_simple_reader_says(
    data: bytes, most: int, wanted: tuple[str, ...] | None, is_ranged: bool
) -> None:
    db = database()
    events = [event for event in Lines(data, 0).events if event.type == METRICS]
    for event in events:
        frame = build_frame_from_lines([event.ts], [event.data])
        if frame.rows:
            append_events(StoredSeries(db, 1), frame)
    bounds = (-2, 6) if is_ranged else None
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "events.jsonl"
        path.write_bytes(data)
        everything = expected_rows(path, wanted, bounds)
        columns = expected_columns(path, wanted)
    plot = draw(db, KEY, PlotRequest(metrics=wanted, steps=bounds))
    answer: Any = json.loads(b"".join(encode_json(plot.keys, plot.tables(), lambda: {"end": 1})))
    assert answer["columns"] == columns
    assert repr(answer["rows"]) == repr(everything)
    small = draw(db, KEY, PlotRequest(metrics=wanted, steps=bounds, most=most))
    answer = json.loads(b"".join(encode_json(small.keys, small.tables(), lambda: {"end": 1})))
    assert small.source_points == len(everything)
    assert len(answer["rows"]) == min(most, len(everything))
    texts = [repr(row) for row in everything]
    assert all(repr(row) in texts for row in answer["rows"])
    if everything:
        reserved = [everything[-1]["global_step"], everything[0]["global_step"], *extremes(everything, columns[1:])]
        assert set(list(dict.fromkeys(reserved))[:most]) <= {row["global_step"] for row in answer["rows"]}


class Shape(NamedTuple):
    """What a series of some chunks looks like; small, so that a failing one can be printed."""

    count: int
    seed: int
    repeats: int
    decimals: int
    disorder: float


shapes = st.builds(
    Shape,
    st.integers(CHUNK_ROWS - 5, 5 * CHUNK_ROWS),
    st.integers(0, 1000),
    st.sampled_from([1, 1, 1, 2]),
    st.sampled_from([1, 6]),
    st.sampled_from([0.0, 0.0, 0.001]),
)


def events_of(shape: Shape) -> list[dict[str, object]]:
    """Ascending or nearly so, with spikes, gaps, repeated steps, and metrics that come and go."""
    count, seed, repeats, decimals, disorder = shape
    random = np.random.default_rng(seed)
    values = random.normal(size=(3, count)).round(decimals)
    some = random.random(count)
    events: list[dict[str, object]] = []
    for i in range(count):
        event: dict[str, object] = {"global_step": i // repeats, "time": float(i), "a": values[0, i]}
        if some[i] < 0.5:
            event["b"] = values[1, i] if some[i] > 0.01 else math.nan
        if i > count // 2 and some[i] > 0.9:
            event["c"] = int(100 * values[2, i])
        if some[i] < disorder:
            event["global_step"] = i // repeats - 3
        events.append(event)
    return events


@given(shapes, st.integers(200, 3000), st.integers(1, 300), st.booleans())
@settings(max_examples=15, deadline=None, phases=WITHOUT_SHRINKING)
def test_levels_have_what_all_rows_have(shape: Shape, batch: int, most: int, is_ranged: bool) -> None:
    db, events = database(), events_of(shape)
    for start in range(0, len(events), batch):
        part = events[start : start + batch]
        append_events(StoredSeries(db, 1), build_frame([0.0] * len(part), part))
    bounds = (len(events) // 5, len(events) * 3 // 5) if is_ranged else None
    every = read_curves(db, KEY, PlotRequest(steps=bounds))
    few = read_curves(db, KEY, PlotRequest(steps=bounds, most=most))
    assert few.source_points == every.source_points == every.rows.rows
    assert few.metrics == every.metrics
    steps = few.rows.step.bits
    assert bool((steps[1:] > steps[:-1]).all())
    at = np.searchsorted(every.rows.step.bits, steps)
    for name, column in few.rows.columns.items():
        whole = every.rows.columns[name]
        assert repr(column.values(0, few.rows.rows)) == repr([whole.values(i, i + 1)[0] for i in at.tolist()])
        ours, all_of_it = comparable(column, few.rows.rows), comparable(whole, every.rows.rows)
        for first in (np.nanargmin, np.nanargmax):
            if np.isfinite(all_of_it).any():
                assert at[first(ours)] == first(all_of_it)
    if every.rows.rows:
        assert (at[0], at[-1]) == (0, every.rows.rows - 1)


@given(shapes, st.lists(st.integers(100, 9000), min_size=1, max_size=8))
@settings(max_examples=10, deadline=None, phases=WITHOUT_SHRINKING)
def test_a_series_put_together_in_memory_is_stored_as_one_that_grew(shape: Shape, sizes: list[int]) -> None:
    events = events_of(shape)
    grown, written = database(), database()
    memory = SeriesInMemory()
    start = number = 0
    while start < len(events):
        part = events[start : start + sizes[number % len(sizes)]]
        frame = build_frame([0.0] * len(part), part)
        append_events(StoredSeries(grown, 1), frame, is_new=start == 0)
        append_events(memory, frame, is_new=start == 0)
        start, number = start + len(part), number + 1
        memory.take(is_end=start >= len(events)).write(StoredSeries(written, 1), written.execute)
    for table in ("metric_frame", "metric_column", "metric_chunk", "metric_level"):
        rows = [sorted(db.execute(f"SELECT * FROM {table}").fetchall()) for db in (grown, written)]
        assert rows[0] == rows[1]


def test_levels_of_a_million_rows_are_read_instead_of_them() -> None:
    db = database()
    rows = 40 * CHUNK_ROWS
    events: list[dict[str, object]] = [{"global_step": i, "a": math.sin(i), "b": i} for i in range(rows)]
    append_events(StoredSeries(db, 1), build_frame([0.0] * rows, events), is_new=True)
    assert db.execute("SELECT max(chunks), count(*) FROM metric_level WHERE id & 3 = 0").fetchall() == [(16, 10)]
    curves = read_curves(db, KEY, PlotRequest(most=100))
    assert rows / BUCKETS[-1] <= curves.rows.rows < rows / 100
    assert metric_rows(merge_steps(concat(StoredSeries(db, 1).frames()))).rows == rows
    StoredSeries(db, 1).forget()
    assert not db.execute("SELECT id FROM metric_level").fetchall()


@given(
    st.lists(st.one_of(st.floats(-1e6, 1e6), st.sampled_from([math.nan, math.inf])), max_size=200),
    st.sampled_from([0.0, 0.5, 0.9, 0.999]),
    st.integers(1, 50),
)
@settings(max_examples=200, deadline=None)
def test_smoothing_in_pieces_is_tensorboards(values: list[float], weight: float, size: int) -> None:
    expected, last, count = [], 0.0, 0
    for value in values:
        if math.isfinite(value):
            last, count = last * weight + (1 - weight) * value, count + 1
            value = last / (1 - weight**count)
        expected.append(value)
    smoothing = Smoothing(weight)
    found = [smoothing.smooth(np.array(values[i : i + size])) for i in range(0, len(values), size)]
    np.testing.assert_allclose(np.concatenate([*found, []]), expected, rtol=1e-9, atol=1e-3 if weight > 0.99 else 1e-6)
