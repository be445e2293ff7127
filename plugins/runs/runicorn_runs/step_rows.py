"""Rows of metrics, merged by step: the cells of each metric as numbers."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from runicorn.columns import INT, MIXED, NULL, TEXT, Column, Table

NOT_METRICS = frozenset({"global_step", "time", "stage"})
"""Columns of merged rows that are never metrics; `epoch` is no column at all."""

Steps = npt.NDArray[Any]
"""Ascending: int64, or Python ints as objects where one is beyond 64 bits."""
BoolArray = npt.NDArray[np.bool_]
Float64Array = npt.NDArray[np.float64]
_MIN_INT64, _MAX_INT64 = -(1 << 63), (1 << 63) - 1


class Cells(NamedTuple):
    """A column of merged rows: which cells are numbers, and which."""

    rows: npt.NDArray[np.int64] | None
    """Those that have a value; None: every row."""
    numbers: Float64Array
    is_number: BoolArray | None
    """Per value; None: all are."""

    @classmethod
    def of(cls, column: Column) -> Cells:
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


class Rows(NamedTuple):
    """Merged rows `start` and on of a table, in the order of their steps."""

    steps: Steps
    columns: dict[str, Cells]
    start: int = 0
    """Earlier rows do not count."""

    @classmethod
    def of(cls, table: Table, steps: Steps) -> Rows:
        return cls(steps, {name: Cells.of(cells) for name, cells in table.columns.items() if name not in NOT_METRICS})

    @classmethod
    def of_one(cls, step: int, cells: dict[str, float | None]) -> Rows:
        """One row: numbers, None for cells that are something else."""
        columns = {
            name: Cells(None, np.array([math.nan if value is None else value]), np.array([value is not None]))
            for name, value in cells.items()
        }
        return cls(np.array([step], dtype=None if _MIN_INT64 <= step <= _MAX_INT64 else object), columns)

    @property
    def size(self) -> int:
        return len(self.steps) - self.start

    @property
    def last_step(self) -> int:
        return int(self.steps[-1])

    def without_first(self) -> Rows:
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


def steps_of(table: Table) -> Steps:
    column = table.columns["global_step"]
    if column.kind == INT:
        return column.bits
    return np.array(column.values(0, table.rows), dtype=object)
