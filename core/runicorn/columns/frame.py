"""Frames: consecutive metric events of one stream as columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import msgspec
import numpy as np
from msgspec import UNSET

from runicorn.columns.column import (
    BOOL,
    EMPTY,
    FLOAT,
    INT,
    Column,
    Int64Array,
    column_of,
    concat_columns,
    encodable,
    is_encodable,
    is_too_long,
)

STEP_KEYS = ("global_step", "step")
"""Keys that give an event its step, the first one present decides; see `step_of`."""
EXCLUDED_KEYS = frozenset({*STEP_KEYS, "epoch"})
"""Keys of `data` that are no columns."""


class Frame(msgspec.Struct, frozen=True, eq=False):
    """`rows` metric events in file order."""

    rows: int
    time: Column
    """Event time in seconds, all floats: `data.time` if it is a finite number, else the event's `ts`, else missing."""
    step: Column
    """The step, all ints; missing where the event has no usable one."""
    columns: Mapping[str, Column]
    """A column for each key that has a value in any of the events."""

    def slice(self, start: int, stop: int) -> Frame:
        """Rows `start` to `stop` as a frame of their own, `0 <= start <= stop <= rows`."""
        sliced = ((key, column.slice(start, stop)) for key, column in self.columns.items())
        return Frame(
            stop - start,
            self.time.slice(start, stop) or EMPTY,
            self.step.slice(start, stop) or EMPTY,
            {key: column for key, column in sliced if column is not None},
        )

    def pick(self, at: Int64Array) -> Frame:
        """The rows `at` (ascending, each once) as a frame of their own."""
        picked = ((key, column.pick(at)) for key, column in self.columns.items())
        return Frame(
            len(at),
            self.time.pick(at) or EMPTY,
            self.step.pick(at) or EMPTY,
            {key: column for key, column in picked if column is not None},
        )

    def select(self, keys: Iterable[str]) -> Frame:
        """The same rows with only these columns; a key without a value is passed over."""
        return Frame(self.rows, self.time, self.step, {key: self.columns[key] for key in keys if key in self.columns})


NO_ROWS = Frame(0, EMPTY, EMPTY, {})
"""The frame without events."""


def concat(frames: Iterable[Frame]) -> Frame:
    """All rows of the frames, one after the other."""
    parts = [frame for frame in frames if frame.rows]
    if len(parts) <= 1:
        return parts[0] if parts else NO_ROWS
    times: list[tuple[int, int, Column]] = []
    steps: list[tuple[int, int, Column]] = []
    columns: dict[str, list[tuple[int, int, Column]]] = {}
    rows = 0
    for frame in parts:
        if len(frame.time):
            times.append((rows, frame.rows, frame.time))
        if len(frame.step):
            steps.append((rows, frame.rows, frame.step))
        for key, column in frame.columns.items():
            columns.setdefault(key, []).append((rows, frame.rows, column))
        rows += frame.rows
    return Frame(
        rows,
        concat_columns(times, rows) if times else EMPTY,
        concat_columns(steps, rows) if steps else EMPTY,
        {key: concat_columns(found, rows) for key, found in columns.items()},
    )


def build_frame(ts: Sequence[float], data: Sequence[object]) -> Frame:
    """A frame from envelope times (Unix seconds, NaN: none) and decoded payloads of metric events.

    A payload that is not an object is no metric event and makes no row. Costs the cells that are there, whatever the keys.
    """
    payloads = [cast("dict[str, object]", item) for item in data if type(item) is dict]
    if len(payloads) < len(data):
        ts = [stamp for stamp, item in zip(ts, data, strict=True) if type(item) is dict]
    found: dict[str, tuple[list[int], list[object]]] = {}
    for row, payload in enumerate(payloads):
        for key, value in payload.items():
            cells = found.get(key)
            if cells is None:
                cells = found[key] = ([], [])
            cells[0].append(row)
            cells[1].append(value)
    if not all(map(is_encodable, found)):
        return build_frame(ts, [{encodable(key): value for key, value in item.items()} for item in payloads])
    every = len(payloads)
    raw = {key: (None if len(rows) == every else rows, values) for key, (rows, values) in found.items()}
    return frame_of_values(ts, raw)


def frame_of_values(ts: Sequence[float], raw: Mapping[str, tuple[Sequence[int] | None, Sequence[object]]]) -> Frame:
    """A frame from envelope times and, per key, its rows (None: all) and values as a JSON parser returns them.

    `msgspec.UNSET` stands for a key that an event lacks.
    """
    columns: dict[str, Column] = {}
    for key, (rows, values) in raw.items():
        if key not in EXCLUDED_KEYS:
            column = column_of(values, None if rows is None else np.array(rows, np.int64))
            if column is not None:
                columns[key] = column
    return Frame(len(ts), _event_times(ts, columns.get("time")), _steps(raw), columns)


def step_of(value: object) -> int | None:
    """The step that a JSON value stands for; None if it stands for none.

    Ints as they are, floats toward zero, `true` is 1, text as `int` reads it (`"5"`, not `"5.0"`).
    """
    if type(value) is int:
        step = value
    elif isinstance(value, (float, str, bool)):
        try:
            step = int(value)
        except (ValueError, OverflowError):  # NaN and text; infinities
            return None
    else:
        return None
    return None if is_too_long(step) else step


def _steps(raw: Mapping[str, tuple[Sequence[int] | None, Sequence[object]]]) -> Column:
    given = [raw[key] for key in STEP_KEYS if key in raw]
    if not given:
        return EMPTY
    rows, values = given[0] if len(given) == 1 else _first_given(*given)
    at = None if rows is None else np.array(rows, np.int64)
    column = column_of(values, at)
    if column is not None and column.kind != INT:
        column = column_of([UNSET if (step := step_of(value)) is None else step for value in values], at)
    return column or EMPTY


def _first_given(
    own: tuple[Sequence[int] | None, Sequence[object]], other: tuple[Sequence[int] | None, Sequence[object]]
) -> tuple[list[int], list[object]]:
    """Per row the value of `own` where its key is present, whatever the value, else that of `other`."""
    chosen: dict[int, object] = {}
    for rows, values in (other, own):
        places = range(len(values)) if rows is None else rows
        chosen.update((row, value) for row, value in zip(places, values, strict=True) if value is not UNSET)
    rows = sorted(chosen)
    return rows, [chosen[row] for row in rows]


def _event_times(ts: Sequence[float], own: Column | None) -> Column:
    if own is not None and own.kind == FLOAT and own.rows is None and bool(np.isfinite(own.numbers()).all()):
        return own
    times = np.array(ts, np.float64)
    if own is not None:
        numbers = own.numbers()
        usable = np.isfinite(numbers) & (own.kind_of_each() != BOOL)
        places = np.flatnonzero(usable) if own.rows is None else own.rows[usable]
        times[places] = numbers[usable]
    finite = np.isfinite(times)
    if bool(finite.all()):
        return Column(None, FLOAT, None, times.view(np.int64)) if len(times) else EMPTY
    rows = np.flatnonzero(finite)
    return Column(rows, FLOAT, None, times[rows].view(np.int64))
