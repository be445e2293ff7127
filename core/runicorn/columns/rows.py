"""From frames to rows: events of one step, or of one time, merged as the contract of 0.4.0 says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

import msgspec
import numpy as np

from runicorn.columns.column import EMPTY, FLOAT, INT, Column, Float64Array, Int64Array, column_of
from runicorn.columns.frame import NO_ROWS, Frame, concat

STEP = "global_step"
TIME = "time"

_DECIMALS = 6
_SCALE = 10.0**_DECIMALS


class Table(msgspec.Struct, frozen=True, eq=False):
    """Merged rows, ascending by their key, with the columns in the order of the answer."""

    rows: int
    columns: Mapping[str, Column]
    """The key first; a missing cell is null in the answer."""


NO_TABLE = Table(0, {})
"""The answer without rows: without columns, too."""


def rows_by_step(frames: Iterable[Frame]) -> Table:
    """One row per step, ascending: `global_step`, then the other keys by code point.

    Of several values for one key and step the last in file order counts, also a null or NaN. Events without a usable step
    are left out, and with them the keys that only they have. O(n) while steps ascend, else O(n log n).
    """
    merged = merge_steps(concat(frames))
    if not merged.rows:
        return NO_TABLE
    return Table(merged.rows, {STEP: merged.step, **{key: merged.columns[key] for key in sorted(merged.columns)}})


def merge_steps(frame: Frame) -> Frame:
    """One row per step, ascending, with all columns; see `rows_by_step`. The time of a row is that of its last event.

    Without an array being copied where steps ascend already.
    """
    if not len(frame.step):
        return NO_ROWS
    groups = _Groups(frame.rows, frame.step)
    if groups.are_rows:
        columns = {key: column for key, column in frame.columns.items() if len(column)}
        return Frame(groups.rows, frame.time or EMPTY, groups.key, columns)
    merged = ((key, groups.merge(column)) for key, column in frame.columns.items())
    columns = {key: column for key, column in merged if column is not None}
    return Frame(groups.rows, groups.merge(frame.time) or EMPTY, groups.key, columns)


def rows_by_time(frames: Iterable[Frame], origin: float | None = None) -> Table:
    """One row per time, ascending: `time`, `global_step`, then the other keys by code point.

    `time` is relative to `origin` (None: to the earliest event), in seconds rounded to 6 decimals; what is equal then is
    one row. Events without a time are left out; one without a usable step leaves `global_step` as it was.
    """
    frame = concat(frames)
    if not len(frame.time):
        return NO_TABLE
    times = frame.time.bits.view(np.float64)
    with np.errstate(over="ignore"):  # from -1e308 to 1e308 is infinite, and null in the answer
        relative = round_to_microseconds(times - (times.min() if origin is None else origin))
    groups = _Groups(frame.rows, Column(frame.time.rows, FLOAT, None, relative.view(np.int64)))
    step = groups.merge(frame.step) or EMPTY
    others = {key: column for key, column in frame.columns.items() if key != TIME}
    return _table(groups, {TIME: groups.key, STEP: step}, others)


def round_to_microseconds(seconds: Float64Array) -> Float64Array:
    """Each element as `round(x, 6)` gives it, exactly; all are 0 or more, infinities included."""
    with np.errstate(over="ignore"):
        scaled = seconds * _SCALE
    units = np.rint(scaled)
    out = units / _SCALE
    # The product is off by half a unit in its last place at most: only next to a tie can that turn the rounding. From
    # 2^52 on, where the quotient need not be the nearest double either, everything is next to a tie.
    with np.errstate(invalid="ignore"):
        doubtful = (np.abs(np.abs(scaled - units) - 0.5) <= np.spacing(scaled)) | np.isinf(scaled)
    for i in np.flatnonzero(doubtful).tolist():
        out[i] = round(float(seconds[i]), _DECIMALS)
    return out + 0.0  # -0.0 becomes 0.0


class _Groups:
    """Which row of the answer each row of a frame belongs to, by the value of a key column."""

    def __init__(self, rows: int, key: Column) -> None:
        self.key = key
        """The key of each row of the answer, ascending."""
        self._group_of_row: Int64Array | None = None
        """Per row of the frame: its row in the answer, -1 for none; None: every row makes one of its own."""
        group_of_value: Int64Array | None
        if key.kind in (INT, FLOAT):
            values = key.bits if key.kind == INT else key.bits.view(np.float64)
            if bool((values[1:] > values[:-1]).all()):
                group_of_value = None
            else:
                distinct, first, group_of_value = np.unique(values, return_index=True, return_inverse=True)
                self.key = key.take(first, None)
                self.rows = len(distinct)
        else:
            steps = cast("list[int]", key.take(np.arange(len(key)), None).values(0, len(key)))
            ascending = sorted(set(steps))
            place = {step: i for i, step in enumerate(ascending)}
            group_of_value = np.array([place[step] for step in steps], np.int64)
            self.key = cast(Column, column_of(ascending))
        self.rows = len(self.key)
        if key.rows is None:
            self._group_of_row = group_of_value
            return
        self.key = Column(None, self.key.kind, self.key.kinds, self.key.bits, self.key.objects)
        self._group_of_row = np.full(rows, -1)
        self._group_of_row[key.rows] = np.arange(self.rows) if group_of_value is None else group_of_value

    @property
    def are_rows(self) -> bool:
        """Whether every row of the frame makes a row of its own: a column is what it was then."""
        return self._group_of_row is None

    def merge(self, column: Column) -> Column | None:
        """The last value of `column` in each group; None if there is none."""
        if self._group_of_row is None:
            return column if len(column) else None
        groups = self._group_of_row if column.rows is None else self._group_of_row[column.rows]
        kept = np.flatnonzero(groups >= 0)
        last = np.full(self.rows, -1)
        last[groups[kept]] = kept  # of repeated indices the last assignment stays
        rows = np.flatnonzero(last >= 0)
        if not len(rows):
            return None
        return column.take(last[rows], None if len(rows) == self.rows else rows)


def _table(groups: _Groups, first: dict[str, Column], others: Mapping[str, Column]) -> Table:
    columns = dict(first)
    for key in sorted(others):
        column = groups.merge(others[key])
        if column is not None:
            columns[key] = column
    return Table(groups.rows, columns)
