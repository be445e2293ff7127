"""All rows of a long run, chunk by chunk: what is not asked to be made smaller need not fit into memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import apsw

from runicorn.columns import Frame, StoredSeries, Table, merge_steps, metric_rows, stream_id_of
from runicorn.plugin import ModelReader, StorageUnavailable
from runicorn_query.plots.drawing import answered_keys, table_of
from runicorn_query.plots.reading import Series, Smoothed, Wanted, in_order
from runicorn_query.plots.request import PlotRequest

_LONG = 32  # chunks; the rows of shorter runs are read at once


class LongPlot:
    """The rows of a long run whose steps ascend from chunk to chunk, one table for each chunk."""

    def __init__(self, model: ModelReader, db: apsw.Connection, key: str, series: Series, request: PlotRequest) -> None:
        self.keys = answered_keys(request, series.metrics())
        self.rows = 0
        """How many there were in the tables so far."""
        self.envelope = None
        self._model = model
        self._key = key
        self._identity = _identity(db, key)
        self._request = request
        self._origin = series.origin() if request.needs_time else 0.0
        wanted = Wanted(request, self._origin)
        self._starts = [chunk.start for chunk in series.chunks if chunk.points and wanted.has_some(chunk)]
        self._tail = series.tail
        self._wanted = wanted

    @property
    def source_points(self) -> int:
        """The same: none is left out."""
        return self.rows

    @classmethod
    def of(cls, model: ModelReader, db: apsw.Connection, key: str, request: PlotRequest) -> LongPlot | None:
        """None if the rows have to be read at once: they are few, to be chosen from, or in another order."""
        if request.most is not None or request.envelope:
            return None
        series = Series(db, key)
        if len(series.chunks) < _LONG or not series.is_ordered or (request.needs_time and not series.times_ascend()):
            return None
        return cls(model, db, key, series, request)

    def tables(self) -> Iterator[Table]:
        """The rows. Each chunk is read when its turn comes, on the thread that asks for it."""
        smoothed = Smoothed(self._request)
        for rows in self._parts():
            rows = smoothed.smooth(self._wanted.of(rows))
            self.rows += rows.rows
            yield table_of(in_order(rows, self._request), self._request, self._origin)

    def _parts(self) -> Iterator[Frame]:
        for start in self._starts:
            yield self._model.read(_chunk, self._key, self._identity, start)
        yield self._tail


def _chunk(db: apsw.Connection, key: str, identity: tuple[object, ...], start: int) -> Frame:
    """The rows of a chunk, as they were when the answer began. StorageUnavailable if the run was replaced meanwhile."""
    if _identity(db, key) != identity:
        raise StorageUnavailable("The run was replaced while its metrics were sent. Ask again.")
    return metric_rows(merge_steps(StoredSeries(db, cast(int, stream_id_of(db, key))).chunk(start)))


def _identity(db: apsw.Connection, key: str) -> tuple[object, ...]:
    return db.execute("SELECT inode, head FROM stream WHERE name = ?", (key,)).fetchall()[0]
