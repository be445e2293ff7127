"""What the metrics of a run come to, over rows merged by step: kept current while the run logs.

Steps usually ascend, and several events may share one: then only the row of the last step can still change, and a batch
costs what is in it. A run that goes back (resumed from a checkpoint, or logged by several processes) has a *window*: the
merged rows that can still change, as arrays. Going back behind the window means reading the run's points again, from there
on; so a run that repeats n steps costs O(n) once and O(window) for each batch, not a new look at all its points.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from typing import cast

import numpy as np
import numpy.typing as npt

from runicorn.columns import Frame, Table, rows_by_step
from runicorn_runs.metric_totals import Closed, RunTotals
from runicorn_runs.step_rows import NOT_METRICS, BoolArray, Cells, Float64Array, Rows, Steps, steps_of

_WINDOW_ROWS = 4096  # how far back an event may lie without a second look at the stored points
_FEW = 200  # rows up to which plain Python is faster than numpy
_MAX_KEPT_CELLS = 4_000_000


class MetricStatistics:
    """The state of one run. Frames are given in the order of the stream."""

    def __init__(self) -> None:
        self._closed = Closed()
        self._tail: Rows | None = None
        """The last rows, of which the last one can still change."""
        self._window: _Window | None = None

    @classmethod
    def of(cls, frames: Iterable[Frame]) -> MetricStatistics:
        """The state after all these frames."""
        state = cls()
        table = rows_by_step(frames)
        if table.rows:
            rows = Rows.of(table, steps_of(table))
            state._closed.add_rows(rows, 0, rows.size - 1)
            state._tail = Rows.of_one(rows.last_step, rows.row(rows.size - 1))
        return state

    def add(self, frame: Frame, stored: Callable[[], Iterable[Frame]]) -> None:
        """Take in the next events. `stored()` are all frames of the stream including this one, for runs that go back."""
        table = rows_by_step([frame])
        if not table.rows:
            return
        steps = steps_of(table)
        first = int(steps[0])
        if self._window is not None:
            if first >= self._window.first or not self._closed.rows:
                at = self._window.merge(table, steps)
                self._window.close_before(at - _WINDOW_ROWS, self._closed)
                return
        elif self._tail is None or first >= self._tail.last_step:
            self._append(Rows.of(table, steps))
            return
        self._closed, self._tail = Closed(), None
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
        closed = self._closed.copy(self._tail.columns) if self._closed.rows else Closed()
        closed.add_rows(self._tail, 0, self._tail.size)
        return closed.totals()

    def shrink(self) -> None:
        """Let go of rows that are kept only because nothing came behind them yet."""
        if self._tail is not None and self._tail.size > _FEW:
            tail, last = self._tail, self._tail.size - 1
            self._closed.add_rows(tail, 0, last)
            self._tail = Rows.of_one(tail.last_step, tail.row(last))

    @property
    def is_small(self) -> bool:
        """Whether this is worth being kept in memory between batches."""
        return self._window is None or self._window.cells <= _MAX_KEPT_CELLS

    def _append(self, rows: Rows) -> None:
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
            self._tail = Rows.of_one(tail.last_step, shared)
        else:
            self._closed.add_row(tail.last_step, shared)
            self._tail = rows.without_first()


class _Window:
    """Merged rows that may still change, as arrays: per metric the numbers, and which cells are numbers."""

    def __init__(self, table: Table) -> None:
        self.steps: Steps = np.empty(0, np.int64)
        self._numbers: dict[str, Float64Array] = {}
        self._is_number: dict[str, BoolArray] = {}
        self.merge(table, steps_of(table))

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
            cells = Cells.of(column)
            if name not in self._numbers:
                self._numbers[name] = np.full(len(self.steps), np.nan)
                self._is_number[name] = np.zeros(len(self.steps), np.bool_)
            places = at if cells.rows is None else at[cells.rows]
            self._numbers[name][places] = cells.numbers
            self._is_number[name][places] = True if cells.is_number is None else cells.is_number
        return int(at[0])

    def close_before(self, row: int, closed: Closed) -> None:
        """Move the rows before `row` to the closed ones, if they are so many that it is worth it."""
        if row < _WINDOW_ROWS:
            return
        self._add_to(closed, row)
        self.steps = self.steps[row:].copy()
        for name, numbers in self._numbers.items():
            self._numbers[name] = numbers[row:].copy()
            self._is_number[name] = self._is_number[name][row:].copy()

    def close_into(self, closed: Closed) -> None:
        """Add all rows to `closed`."""
        self._add_to(closed, len(self.steps))

    def _add_to(self, closed: Closed, stop: int) -> None:
        columns = {name: Cells(None, numbers, self._is_number[name]) for name, numbers in self._numbers.items()}
        closed.add_rows(Rows(self.steps, columns), 0, stop)

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
