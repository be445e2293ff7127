"""What metrics come to over rows that can no longer change."""

from __future__ import annotations

import math
from collections.abc import Container
from typing import NamedTuple

import numpy as np

from runicorn_runs.step_rows import BoolArray, Float64Array, Rows, Steps

_FEW = 200  # rows up to which plain Python is faster than numpy


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


class Closed:
    """Totals of rows that cannot change any more, which are given in the order of their steps."""

    def __init__(self) -> None:
        self.rows = 0
        self._metrics: dict[str, _Total] = {}
        self._steps = 0
        self._first: int | None = None
        self._last: int | None = None

    def copy(self, changing: Container[str]) -> Closed:
        """To be continued: what is in no other metric than the `changing` ones can be added to the copy."""
        copied = Closed()
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

    def add_rows(self, given: Rows, start: int, stop: int) -> None:
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
