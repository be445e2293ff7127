"""What the metrics of a run come to, over rows merged by step: kept current while the run logs.

Steps usually ascend, and several events may share one: then only the row of the last step can still change, and a batch
costs what is in it. A run that goes back (resumed from a checkpoint, or logged by several processes) has a *window*: the
merged rows that can still change, as arrays. Going back behind the window means reading the run's points again, from there
on; so a run that repeats n steps costs O(n) once and O(window) for each batch, not a new look at all its points.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from runicorn.columns import INT, MIXED, NULL, TEXT, Column, Frame, Table, rows_by_step

NOT_METRICS = frozenset({"global_step", "time", "stage"})
"""Columns of merged rows that are never metrics; `epoch` is no column at all."""

_WINDOW_ROWS = 4096  # how far back an event may lie without a second look at the stored points
_FEW = 200  # rows up to which plain Python is faster than numpy
_MAX_KEPT_CELLS = 4_000_000
_MIN_INT64, _MAX_INT64 = -(1 << 63), (1 << 63) - 1

Steps = npt.NDArray[Any]
"""Ascending: int64, or Python ints as objects where one is beyond 64 bits."""
BoolArray = npt.NDArray[np.bool_]
Float64Array = npt.NDArray[np.float64]


class MetricTotal(NamedTuple):
    """A metric over all merged rows. Only finite values count for `low`, `high` and `last`."""

    cells: int
    """Cells that are numbers, NaN and infinities included."""
    low: float | None
    high: float | None
    last: float | None
    """The finite value at the highest step that has one, and that step."""
    last_step: int | None
    diverged: int | None
    """The highest step, if its value is NaN or infinite and stands behind `last`; else None."""


class RunTotals(NamedTuple):
    """All metrics of a run. A step counts if it has a number in any metric."""

    metrics: dict[str, MetricTotal]
    steps: int
    first_step: int | None
    last_step: int | None

    @property
    def cells(self) -> int:
        """Numeric cells of all metrics."""
        return sum(total.cells for total in self.metrics.values())


class MetricStatistics:
    """The state of one run. Frames are given in the order of the stream."""

    def __init__(self) -> None:
        self._closed = _Closed()
        self._tail: _Rows | None = None
        """The last rows, of which the last one can still change."""
        self._window: _Window | None = None

    @classmethod
    def of(cls, frames: Iterable[Frame]) -> MetricStatistics:
        """The state after all these frames."""
        state = cls()
        table = rows_by_step(frames)
        if table.rows:
            rows = _Rows.of(table, _steps(table))
            state._closed.add_rows(rows, 0, rows.size - 1)
            state._tail = _Rows.of_one(rows.last_step, rows.row(rows.size - 1))
        return state

    def add(self, frame: Frame, stored: Callable[[], Iterable[Frame]]) -> None:
        """Take in the next events. `stored()` are all frames of the stream including this one, for runs that go back."""
        table = rows_by_step([frame])
        if not table.rows:
            return
        steps = _steps(table)
        first = int(steps[0])
        if self._window is not None:
            if first >= self._window.first or not self._closed.rows:
                at = self._window.merge(table, steps)
                self._window.close_before(at - _WINDOW_ROWS, self._closed)
                return
        elif self._tail is None or first >= self._tail.last_step:
            self._append(_Rows.of(table, steps))
            return
        self._closed, self._tail = _Closed(), None
        self._window = _Window(rows_by_step(stored()))
        self._window.close_before(int(np.searchsorted(self._window.steps, first)) - _WINDOW_ROWS, self._closed)

    def totals(self) -> RunTotals:
        """What all events so far come to."""
        if self._window is not None:
            closed = self._closed.copy(self._window.metrics)
            self._window.close_into(closed)
            return closed.totals()
        if self._tail is None:
            return self._closed.totals()
        closed = self._closed.copy(self._tail.columns) if self._closed.rows else _Closed()
        closed.add_rows(self._tail, 0, self._tail.size)
        return closed.totals()

    def shrink(self) -> None:
        """Let go of rows that are kept only because nothing came behind them yet."""
        if self._tail is not None and self._tail.size > _FEW:
            tail, last = self._tail, self._tail.size - 1
            self._closed.add_rows(tail, 0, last)
            self._tail = _Rows.of_one(tail.last_step, tail.row(last))

    @property
    def is_small(self) -> bool:
        """Whether this is worth being kept in memory between batches."""
        return self._window is None or self._window.cells <= _MAX_KEPT_CELLS

    def _append(self, rows: _Rows) -> None:
        """Rows that begin at the last one, or behind it."""
        tail, self._tail = self._tail, rows
        if tail is None:
            return
        if tail.last_step != int(rows.steps[0]):
            self._closed.add_rows(tail, 0, tail.size)
            return
        self._closed.add_rows(tail, 0, tail.size - 1)
        shared = {**tail.row(tail.size - 1), **rows.row(0)}
        if rows.size == 1:
            self._tail = _Rows.of_one(tail.last_step, shared)
        else:
            self._closed.add_row(tail.last_step, shared)
            self._tail = rows.without_first()


class _Cells(NamedTuple):
    """A column of merged rows: which cells are numbers, and which."""

    rows: npt.NDArray[np.int64] | None
    """Those that have a value; None: every row."""
    numbers: Float64Array
    is_number: BoolArray | None
    """Per value; None: all are."""

    @classmethod
    def of(cls, column: Column) -> _Cells:
        is_number = None
        if column.kind in (MIXED, NULL, TEXT):
            kinds = column.kind_of_each()
            is_number = (kinds != NULL) & (kinds != TEXT)
        return cls(column.rows, column.numbers(), is_number)

    def between(self, start: int, stop: int) -> tuple[slice, npt.NDArray[np.int64] | None]:
        """The positions of the values in rows `start` to `stop`, and their rows (None: every row has one)."""
        if self.rows is None:
            return slice(start, stop), None
        first, last = (int(i) for i in np.searchsorted(self.rows, (start, stop)))
        return slice(first, last), self.rows[first:last]


class _Rows(NamedTuple):
    """Merged rows `start` and on of a table, in the order of their steps."""

    steps: Steps
    columns: dict[str, _Cells]
    start: int = 0
    """Earlier rows do not count."""

    @classmethod
    def of(cls, table: Table, steps: Steps) -> _Rows:
        return cls(steps, {name: _Cells.of(cells) for name, cells in table.columns.items() if name not in NOT_METRICS})

    @classmethod
    def of_one(cls, step: int, cells: dict[str, float | None]) -> _Rows:
        """One row: numbers, None for cells that are something else."""
        columns = {
            name: _Cells(None, np.array([math.nan if value is None else value]), np.array([value is not None]))
            for name, value in cells.items()
        }
        return cls(np.array([step], dtype=None if _MIN_INT64 <= step <= _MAX_INT64 else object), columns)

    @property
    def size(self) -> int:
        return len(self.steps) - self.start

    @property
    def last_step(self) -> int:
        return int(self.steps[-1])

    def without_first(self) -> _Rows:
        return self._replace(start=self.start + 1)

    def row(self, place: int) -> dict[str, float | None]:
        """Row number `place`: its numbers, None for cells that are something else."""
        found: dict[str, float | None] = {}
        for name, cells in self.columns.items():
            at, rows = cells.between(self.start + place, self.start + place + 1)
            if rows is None or len(rows):
                is_number = cells.is_number is None or bool(cells.is_number[at.start])
                found[name] = float(cells.numbers[at.start]) if is_number else None
        return found


class _Closed:
    """Totals of rows that cannot change any more, which are given in the order of their steps."""

    def __init__(self) -> None:
        self.rows = 0
        self._metrics: dict[str, _Total] = {}
        self._steps = 0
        self._first: int | None = None
        self._last: int | None = None

    def copy(self, changing: Container[str]) -> _Closed:
        """To be continued: what is in no other metric than the `changing` ones can be added to the copy."""
        copied = _Closed()
        copied.rows, copied._steps, copied._first, copied._last = self.rows, self._steps, self._first, self._last
        copied._metrics = {name: total.copy() if name in changing else total for name, total in self._metrics.items()}
        return copied

    def totals(self) -> RunTotals:
        metrics = {name: total.frozen() for name, total in self._metrics.items()}
        return RunTotals(metrics, self._steps, self._first, self._last)

    def add_row(self, step: int, cells: dict[str, float | None]) -> None:
        self.rows += 1
        has_number = False
        for name, value in cells.items():
            if value is not None:
                has_number = True
                self.metric(name).add_cell(value, step)
        if has_number:
            self._count(1, step, step)

    def add_rows(self, given: _Rows, start: int, stop: int) -> None:
        """Rows `start` to `stop` of those that are given."""
        if start >= stop:
            return
        steps = given.steps
        start, stop = start + given.start, stop + given.start
        self.rows += stop - start
        every = steps[start:stop]
        counted: BoolArray | None = np.zeros(stop - start, np.bool_)
        for name, cells in given.columns.items():
            place, rows = cells.between(start, stop)
            numbers = cells.numbers[place]
            if cells.is_number is not None:
                is_number = cells.is_number[place]
                if not is_number.all():
                    rows = np.flatnonzero(is_number) + start if rows is None else rows[is_number]
                    numbers = numbers[is_number]
            if not len(numbers):
                continue
            if rows is None:
                counted = None
                self.metric(name).add(numbers, every)
            else:
                if counted is not None:
                    counted[rows - start] = True
                self.metric(name).add(numbers, steps[rows])
        if counted is None:
            self._count(stop - start, int(steps[start]), int(steps[stop - 1]))
        else:
            places = np.flatnonzero(counted)
            if len(places):
                self._count(len(places), int(steps[start + places[0]]), int(steps[start + places[-1]]))

    def metric(self, name: str) -> _Total:
        total = self._metrics.get(name)
        if total is None:
            total = self._metrics[name] = _Total()
        return total

    def _count(self, steps: int, first: int, last: int) -> None:
        self._steps += steps
        self._last = last
        if self._first is None:
            self._first = first


class _Total:
    """A metric so far, over rows in the order of their steps."""

    __slots__ = ("cells", "diverged", "high", "last", "last_step", "low")

    def __init__(self) -> None:
        self.cells = 0
        self.low = math.inf
        self.high = -math.inf
        self.last = 0.0
        self.last_step: int | None = None
        self.diverged: int | None = None

    def copy(self) -> _Total:
        copied = _Total()
        copied.cells, copied.low, copied.high = self.cells, self.low, self.high
        copied.last, copied.last_step, copied.diverged = self.last, self.last_step, self.diverged
        return copied

    def frozen(self) -> MetricTotal:
        if self.last_step is None:
            return MetricTotal(self.cells, None, None, None, None, self.diverged)
        return MetricTotal(self.cells, self.low, self.high, self.last, self.last_step, self.diverged)

    def add_cell(self, value: float, step: int) -> None:
        self.cells += 1
        if value - value == 0.0:
            if value < self.low:
                self.low = value
            if value > self.high:
                self.high = value
            self.last, self.last_step, self.diverged = value, step, None
        else:
            self.diverged = step

    def add(self, numbers: Float64Array, steps: Steps) -> None:
        """Numbers at these steps, at least one."""
        self.cells += len(numbers)
        if len(numbers) <= _FEW:
            values: list[float] = numbers.tolist()
            total = sum(values)
            if total - total == 0.0:  # all are finite
                low, high = min(values), max(values)
                if low < self.low:
                    self.low = low
                if high > self.high:
                    self.high = high
                self.last, self.last_step, self.diverged = values[-1], int(steps[-1]), None
                return
        finite = np.isfinite(numbers)
        if not finite[-1]:
            self.diverged = int(steps[-1])
        places = np.flatnonzero(finite)
        if len(places):
            usable = numbers[places]
            self.low = min(self.low, float(usable.min()))
            self.high = max(self.high, float(usable.max()))
            self.last, self.last_step = float(usable[-1]), int(steps[places[-1]])
            if finite[-1]:
                self.diverged = None


class _Window:
    """Merged rows that may still change, as arrays: per metric the numbers, and which cells are numbers."""

    def __init__(self, table: Table) -> None:
        self.steps: Steps = np.empty(0, np.int64)
        self._numbers: dict[str, Float64Array] = {}
        self._is_number: dict[str, BoolArray] = {}
        self.merge(table, _steps(table))

    @property
    def first(self) -> int:
        """The lowest step."""
        return int(self.steps[0])

    @property
    def metrics(self) -> Container[str]:
        """Names of the metrics."""
        return self._numbers.keys()

    @property
    def cells(self) -> int:
        """How much memory this takes, in cells."""
        return len(self.steps) * (1 + len(self._numbers))

    def merge(self, table: Table, steps: Steps) -> int:
        """Write rows over those of equal steps, and between the others; where the first of them stands now."""
        at = self._make_room(steps)
        for name, column in table.columns.items():
            if name in NOT_METRICS:
                continue
            cells = _Cells.of(column)
            if name not in self._numbers:
                self._numbers[name] = np.full(len(self.steps), np.nan)
                self._is_number[name] = np.zeros(len(self.steps), np.bool_)
            places = at if cells.rows is None else at[cells.rows]
            self._numbers[name][places] = cells.numbers
            self._is_number[name][places] = True if cells.is_number is None else cells.is_number
        return int(at[0])

    def close_before(self, row: int, closed: _Closed) -> None:
        """Move the rows before `row` to the closed ones, if they are so many that it is worth it."""
        if row < _WINDOW_ROWS:
            return
        self._add_to(closed, row)
        self.steps = self.steps[row:].copy()
        for name, numbers in self._numbers.items():
            self._numbers[name] = numbers[row:].copy()
            self._is_number[name] = self._is_number[name][row:].copy()

    def close_into(self, closed: _Closed) -> None:
        """Add all rows to `closed`."""
        self._add_to(closed, len(self.steps))

    def _add_to(self, closed: _Closed, stop: int) -> None:
        columns = {name: _Cells(None, numbers, self._is_number[name]) for name, numbers in self._numbers.items()}
        closed.add_rows(_Rows(self.steps, columns), 0, stop)

    def _make_room(self, steps: Steps) -> npt.NDArray[np.int64]:
        """Where rows with these steps stand, after those that are new were put in."""
        if steps.dtype != self.steps.dtype:
            steps, self.steps = steps.astype(object), self.steps.astype(object)
        at = np.searchsorted(self.steps, steps)
        is_new = np.ones(len(steps), np.bool_)
        inside = at < len(self.steps)
        is_new[inside] = self.steps[at[inside]] != steps[inside]
        if is_new.any():
            places = at[is_new]
            self.steps = np.insert(self.steps, places, steps[is_new])
            for name, numbers in self._numbers.items():
                self._numbers[name] = np.insert(numbers, places, np.nan)
                self._is_number[name] = np.insert(self._is_number[name], places, False)
            at = np.searchsorted(self.steps, steps)
        return cast("npt.NDArray[np.int64]", at)


def _steps(table: Table) -> Steps:
    column = table.columns["global_step"]
    if column.kind == INT:
        return column.bits
    return np.array(column.values(0, table.rows), dtype=object)
