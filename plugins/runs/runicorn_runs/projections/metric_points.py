"""The metric points of every run, as columns in chunks with levels for plots. No point is a row.

All tables are owned, and public: `runicorn.columns.StoredSeries` reads them, in any plugin. A row of a frame is one
`metrics` event, unmerged and in file order: merging by step or by time is done when reading.
"""

from __future__ import annotations

from typing import cast

from runicorn.columns import (
    SERIES_MEANINGS,
    SERIES_SCHEMA,
    SeriesInMemory,
    SeriesPart,
    StoredSeries,
    append_events,
)
from runicorn.plugin import Batch, Stream, StreamKind, Tables
from runicorn_runs.projections.batch_frame import metric_frame


class MetricPoints:
    """See the module's docstring."""

    name = "metric_points"
    version = 2
    streams = frozenset[StreamKind]({"run"})
    schema = SERIES_SCHEMA
    meanings = SERIES_MEANINGS

    def apply(self, batch: Batch, tables: Tables) -> None:
        """Append the batch's metric events to the series of its stream."""
        frame = metric_frame(batch)
        if frame is not None:
            append_events(StoredSeries(tables, batch.stream_id), frame, is_new=batch.start == 0)

    def preparation(self, stream: Stream) -> PointsPreparation:
        """See `runicorn.plugin.PreparesStreams`."""
        return PointsPreparation()

    def apply_prepared(self, stream: Stream, stream_id: int, prepared: object, tables: Tables) -> None:
        """Write encoded pieces."""
        cast(SeriesPart, prepared).write(StoredSeries(tables, stream_id), tables.collect)

    def forget(self, stream_id: int, tables: Tables) -> None:
        """Delete the points of a stream."""
        StoredSeries(tables, stream_id).forget()


class PointsPreparation:
    """The series of one stream, put together in memory."""

    def __init__(self) -> None:
        self._series = SeriesInMemory()
        self._is_new = True

    def add(self, batch: Batch) -> None:
        """Append the batch's metric events."""
        frame = metric_frame(batch)
        if frame is not None:
            append_events(self._series, frame, is_new=self._is_new)
            self._is_new = False

    def take(self, *, is_end: bool) -> SeriesPart:
        """What is encoded so far."""
        return self._series.take(is_end=is_end)
