"""From the rows to choose from to the table that is answered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import apsw
import msgspec
import numpy as np

from runicorn.columns import (
    FLOAT,
    STEP,
    TIME,
    Column,
    Float64Array,
    Frame,
    Int64Array,
    Table,
    comparable,
    dense_numbers,
)
from runicorn_query.plots.reading import Curves, read_curves, x_of
from runicorn_query.plots.request import PlotRequest
from runicorn_query.plots.selection import select_rows


class Envelope(msgspec.Struct, frozen=True):
    """The smallest and the largest finite value of each metric, of all rows in ranges that follow each other."""

    start: list[float] = msgspec.field(name="from")
    """Where each range begins, in units of x."""
    end: list[float] = msgspec.field(name="to")
    """The last sampled x in the range."""
    min: dict[str, list[float | None]]
    max: dict[str, list[float | None]]


class Plot(msgspec.Struct, frozen=True, eq=False):
    """The chosen rows of one run."""

    keys: tuple[str, ...]
    """Columns of the answer: the step, `time` where x is one, then the metrics."""
    table: Table
    source_points: int
    envelope: Envelope | None = None

    @property
    def rows(self) -> int:
        """How many were chosen."""
        return self.table.rows

    def tables(self) -> Iterator[Table]:
        """The rows, in one piece."""
        yield self.table


def draw(db: apsw.Connection, key: str, request: PlotRequest) -> Plot:
    """The rows of a run that a request asks for."""
    curves = read_curves(db, key, request)
    keys = answered_keys(request, curves.metrics)
    if not keys:
        return Plot((), Table(0, {}), 0)
    metrics = [name for name in keys if name in curves.rows.columns]
    at: Int64Array | None = None
    if request.most is not None and curves.rows.rows > request.most:
        x = x_of(curves.rows, request, curves.origin)
        at = select_rows(x, *_curves(curves.rows, metrics), request.most)
    envelope = envelope_of(curves, request, metrics) if request.envelope else None
    rows = curves.rows if at is None else curves.rows.pick(at)
    return Plot(keys, table_of(rows, request, curves.origin), curves.source_points, envelope)


def draw_alone(db: apsw.Connection, key: str, request: PlotRequest) -> dict[str, tuple[list[float], list[float]]]:
    """Each wanted metric of a run as a line of its own: x and y of its finite values, each at most `request.most` of them."""
    curves = read_curves(db, key, request)
    x = x_of(curves.rows, request, curves.origin)
    lines: dict[str, tuple[list[float], list[float]]] = {}
    for name in request.metrics or curves.metrics:
        column = curves.rows.columns.get(name)
        if column is None:
            continue
        values = dense_numbers(column, curves.rows.rows)
        at = np.flatnonzero(np.isfinite(values))
        if request.most is not None and len(at) > request.most:
            at = at[select_rows(x[at], [comparable(column, curves.rows.rows)[at]], [values[at]], request.most)]
        if len(at):
            lines[name] = x[at].tolist(), values[at].tolist()
    return lines


def answered_keys(request: PlotRequest, metrics: Sequence[str]) -> tuple[str, ...]:
    """The columns of an answer about a run with these metrics; none at all if it has none and none were asked for."""
    wanted = request.metrics
    if wanted is None:
        if not metrics:
            return ()
        wanted = tuple(metrics)
    leading = (STEP, TIME) if request.needs_time else (STEP,)
    return (*leading, *(name for name in wanted if name not in leading))


def table_of(rows: Frame, request: PlotRequest, origin: float) -> Table:
    """Rows as they are answered; what is not finite is null there."""
    columns = {**rows.columns, STEP: rows.step}
    if request.needs_time and rows.rows:
        columns[TIME] = Column(None, FLOAT, None, x_of(rows, request, origin).view(np.int64))
    return Table(rows.rows, columns)


def envelope_of(curves: Curves, request: PlotRequest, metrics: Sequence[str]) -> Envelope:
    """Ranges of whole buckets, at most as many as rows are wanted."""
    rows = curves.rows
    if not rows.rows:
        return Envelope([], [], {name: [] for name in metrics}, {name: [] for name in metrics})
    x = x_of(rows, request, curves.origin)
    begins = np.flatnonzero(np.diff(curves.bucket, prepend=-1))
    ranges = len(begins) if request.most is None else min(request.most, len(begins))
    begins = begins[np.arange(ranges) * len(begins) // ranges]
    ends = np.append(begins[1:], rows.rows) - 1
    low: dict[str, list[float | None]] = {}
    high: dict[str, list[float | None]] = {}
    for name in metrics:
        values = dense_numbers(rows.columns[name], rows.rows)
        finite = np.isfinite(values)
        low[name] = _finite(np.minimum.reduceat(np.where(finite, values, np.inf), begins))
        high[name] = _finite(np.maximum.reduceat(np.where(finite, values, -np.inf), begins))
    return Envelope(x[begins].tolist(), x[ends].tolist(), low, high)


def _curves(rows: Frame, metrics: Sequence[str]) -> tuple[list[Float64Array], list[Float64Array]]:
    columns = [rows.columns[name] for name in metrics]
    return [comparable(c, rows.rows) for c in columns], [dense_numbers(c, rows.rows) for c in columns]


def _finite(values: Float64Array) -> list[float | None]:
    return [value if value - value == 0.0 else None for value in values.tolist()]
