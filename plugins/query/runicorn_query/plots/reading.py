"""From the stored series of a run to the rows that a plot chooses from.

While no step of a chunk is in an earlier one, a chunk that lies completely in the wanted range is stood for by its sampled
rows; chunks at the edges and the tail are read. Otherwise everything is merged first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, cast

import apsw
import msgspec
import numpy as np

from runicorn.columns import (
    BUCKETS,
    CHUNK_ROWS,
    FLOAT,
    INT,
    LEVELS,
    NO_ROWS,
    POSITION,
    Chunk,
    Column,
    Float64Array,
    Frame,
    Int64Array,
    Outline,
    StoredSeries,
    comparable,
    concat,
    dense_numbers,
    merge_steps,
    metric_rows,
    round_to_microseconds,
    sampled,
    stream_id_of,
)
from runicorn_query.plots.request import PlotRequest
from runicorn_query.plots.smoothing import Smoothing

_CANDIDATES = 4  # sampled rows for each wanted one, as for MinMaxLTTB
_FEWEST_CANDIDATES = 2  # … of the finest level: reading everything costs a hundred times as much


class Curves(msgspec.Struct, frozen=True, eq=False):
    """Rows of a run to choose from: all that count, or sampled ones that have every bucket's first row and extremes."""

    rows: Frame
    """Merged, ascending by x, metrics as the only columns."""
    bucket: Int64Array
    """Ascending: the bucket of each row. A bucket has the extremes of all rows that it stands for."""
    source_points: int
    """Rows in the range, before any was left out."""
    metrics: Sequence[str]
    """All metrics of the run, by code point."""
    origin: float
    """Unix seconds of the run's first event."""


class Series:
    """The series of one run, opened for one answer: what is known of its chunks, and its tail."""

    def __init__(self, db: apsw.Connection, key: str) -> None:
        stream_id = stream_id_of(db, key)
        self.is_there = stream_id is not None
        self._stored = StoredSeries(db, stream_id or 0)
        self.chunks = self._stored.chunks()
        self._known_outlines: dict[int, list[tuple[int, int, Outline]]] = {}
        end = self.chunks[-1].start + CHUNK_ROWS if self.chunks else 0
        self._tail_start = end
        self._tail_events = concat(self._stored.tail_frames(end)) if self.is_there else NO_ROWS
        self.tail = metric_rows(merge_steps(self._tail_events))
        self.is_ordered = bool(self.chunks) and self._is_ordered()

    @property
    def rows(self) -> int:
        """Events, an upper bound for rows."""
        return self._tail_start + self._tail_events.rows

    def origin(self) -> float:
        """The time of the first event; 0.0 if none has a time."""
        starts = [chunk.min_time for chunk in self.chunks]
        times = self._tail_events.time.numbers()
        if len(times):
            starts.append(float(times.min()))
        if None in starts:
            every = [frame.time.numbers() for frame in self._stored.frames()]
            starts = [float(part.min()) for part in every if len(part)]
        return min(cast("list[float]", starts), default=0.0)

    def metrics(self) -> list[str]:
        """All metrics, by code point. Reads little where there are levels."""
        names = set(self.tail.columns)
        if self.is_ordered and all(chunk.levels < LEVELS or not chunk.points for chunk in self.chunks):
            for _, _, outline in self._outlines(LEVELS - 1):
                names.update(outline.keys)
            names.discard(POSITION)
        elif self.is_ordered:
            for chunk in self.chunks:
                names.update(self.chunk(chunk).columns)
        else:
            names.update(self.merged().columns)
        return sorted(names)

    def chunk(self, chunk: Chunk) -> Frame:
        """The rows of a chunk of an ordered series."""
        return metric_rows(merge_steps(self._stored.chunk(chunk.start)))

    def merged(self) -> Frame:
        """All rows, whatever the order of their steps."""
        return metric_rows(merge_steps(concat(self._stored.frames()))) if self.is_there else NO_ROWS

    def numbered(self, parts: Iterable[Chunk | None]) -> Iterator[tuple[int, Frame]]:
        """The rows of chunks and (None) of the tail, with the number of the event that each begins with."""
        for chunk in parts:
            yield (self._tail_start, self.tail) if chunk is None else (chunk.start, self.chunk(chunk))

    def times_ascend(self) -> bool:
        """Whether the rows of an ordered series are in the order of their times, as far as chunks tell."""
        bounds = [(chunk.min_time, chunk.max_time) for chunk in self.chunks]
        times = self._tail_events.time.numbers()
        if self._tail_events.rows:
            is_known = len(times) == self._tail_events.rows
            bounds.append((float(times.min()), float(times.max())) if is_known else (None, None))
        if any(low is None for low, _ in bounds):
            return False
        return all(cast(float, before) <= cast(float, low) for (_, before), (low, _) in pairwise(bounds))

    def most_sampled(self, level: int, wanted: Sequence[Chunk]) -> int:
        """At most that many rows has a level of these chunks (at least one). Reads little."""
        start, end = wanted[0].start, wanted[-1].start + CHUNK_ROWS
        return sum(outline.rows for first, last, outline in self._outlines(level) if first < end and last > start)

    def sampled(self, level: int, wanted: Sequence[Chunk]) -> tuple[Frame, Int64Array]:
        """The sampled rows of these chunks (at least one, all with this level), and the bucket of each."""
        with_rows = np.array([c.start for c in self.chunks if c.points and c.levels <= level], np.int64)
        is_wanted = np.isin(with_rows, [chunk.start for chunk in wanted])
        frames: list[Frame] = []
        buckets: list[Int64Array] = []
        for start, frame in self._stored.level(level, wanted[0].start, wanted[-1].start + CHUNK_ROWS):
            positions = frame.columns[POSITION].bits
            # Every chunk's first row is sampled, so each 0 begins the next chunk that has this level.
            place = np.searchsorted(with_rows, start) + np.cumsum(positions == 0) - 1
            keep = is_wanted[place]
            bucket = with_rows[place] + positions // BUCKETS[level] * BUCKETS[level]
            picked = frame if keep.all() else frame.pick(np.flatnonzero(keep))
            frames.append(picked.select(key for key in picked.columns if key != POSITION))
            buckets.append(bucket[keep])
        return concat(frames), np.concatenate(buckets) if buckets else np.empty(0, np.int64)

    def _outlines(self, level: int) -> list[tuple[int, int, Outline]]:
        found = self._known_outlines.get(level)
        if found is None:
            found = self._known_outlines[level] = list(self._stored.level_outlines(level, 0, self._tail_start))
        return found

    def _is_ordered(self) -> bool:
        steps: list[tuple[int | None, int | None]] = [(chunk.min_step, chunk.max_step) for chunk in self.chunks]
        tail = self._tail_events.step
        if len(tail):
            steps.append((int(tail.bits.min()), int(tail.bits.max())) if tail.kind == INT else (None, None))
        if any(low is None for low, _ in steps):
            return False
        return all(cast(int, before) < cast(int, low) for (_, before), (low, _) in pairwise(steps))


def read_curves(db: apsw.Connection, key: str, request: PlotRequest) -> Curves:
    """What a plot of the run chooses from. Constant memory where steps ascend and a number of rows is asked for."""
    series = Series(db, key)
    origin = series.origin() if request.needs_time else 0.0
    wanted = Wanted(request, origin)
    if not series.is_ordered:
        rows = series.merged()
        names = sorted(rows.columns)
        rows = in_order(wanted.of(rows), request)
        rows = Smoothed(request).smooth(rows)
        return Curves(rows, np.arange(rows.rows), rows.rows, names, origin)
    return _read_ordered(series, wanted, request, origin)


def _read_ordered(series: Series, wanted: Wanted, request: PlotRequest, origin: float) -> Curves:
    inside = [chunk for chunk in series.chunks if chunk.points and wanted.has_all(chunk)]
    known = {chunk.start for chunk in inside}
    edges = [c for c in series.chunks if c.points and c.start not in known and wanted.has_some(c)]
    points = sum(chunk.points for chunk in inside)
    pieces: list[tuple[int, Frame, Int64Array]] = []
    level = None
    if inside and request.most is not None and not request.smoothing and points > request.most:
        level = _best_level(series, inside, request.most)
        if level is not None:
            pieces.append((inside[0].start, *level))
    smoothed = Smoothed(request)
    count = points if level is not None else 0
    read = edges if level is not None else sorted([*edges, *inside], key=lambda chunk: chunk.start)
    limit = 1 if request.most is None else max(1, sum(chunk.points for chunk in read) // (_CANDIDATES * request.most))
    for start, rows in series.numbered([*read, None]):
        rows = smoothed.smooth(wanted.of(rows))
        count += rows.rows
        at = np.arange(rows.rows)
        bucket = start + at
        if limit > 1:
            [at] = sampled(rows, [limit])
            bucket = start + at // limit * limit
            rows = rows.pick(at)
        if rows.rows:
            pieces.append((start, rows, bucket))
    rows, bucket = _joined(pieces)
    ordered = in_order(rows, request)
    bucket = bucket if ordered is rows else np.arange(ordered.rows)
    return Curves(ordered, bucket, count, series.metrics(), origin)


def _best_level(series: Series, inside: Sequence[Chunk], most: int) -> tuple[Frame, Int64Array] | None:
    """The coarsest level with enough rows to choose from; None: read everything."""
    finest = max(chunk.levels for chunk in inside)
    if finest >= LEVELS:
        return None
    enough = _CANDIDATES * most
    level = LEVELS - 1
    # Counted before anything is decoded, and exactly only where it may be enough.
    while level > finest and series.most_sampled(level, inside) < enough:
        level -= 1
    found = series.sampled(level, inside)
    while level > finest and found[0].rows < enough:
        level -= 1
        found = series.sampled(level, inside)
    return found if found[0].rows >= _FEWEST_CANDIDATES * most else None


def _joined(pieces: list[tuple[int, Frame, Int64Array]]) -> tuple[Frame, Int64Array]:
    """Pieces of an ordered series as one. Chunks at the edges lie before or behind the sampled ones, or between them."""
    if not pieces:
        return NO_ROWS, np.empty(0, np.int64)
    pieces.sort(key=lambda piece: piece[0])
    rows = concat(frame for _, frame, _ in pieces)
    bucket = np.concatenate([bucket for _, _, bucket in pieces])
    if bool((bucket[1:] >= bucket[:-1]).all()):
        return rows, bucket
    at = np.argsort(bucket, kind="stable")
    return _permuted(rows, at), bucket[at]


class Wanted:
    """The range of a request, for chunks and for rows."""

    def __init__(self, request: PlotRequest, origin: float) -> None:
        self._steps = request.step_bounds
        low, high = request.time_bounds
        self._times = low, high
        self._origin = origin if request.x == "time" else None
        self._needs_time = request.needs_time
        self._is_all = self._steps == (-np.inf, np.inf) and self._times == (-np.inf, np.inf)

    def has_all(self, chunk: Chunk) -> bool:
        """Whether every row of a chunk is in the range."""
        return _within(chunk.min_step, chunk.max_step, self._steps) and (
            not self._needs_time or _within(self._since(chunk.min_time), self._since(chunk.max_time), self._times)
        )

    def has_some(self, chunk: Chunk) -> bool:
        """Whether a row of a chunk may be in the range."""
        return _touches(chunk.min_step, chunk.max_step, self._steps) and (
            not self._needs_time or _touches(self._since(chunk.min_time), self._since(chunk.max_time), self._times)
        )

    def of(self, rows: Frame) -> Frame:
        """The rows in the range."""
        keep = np.ones(rows.rows, np.bool_)
        if not self._is_all and rows.rows:
            low, high = self._steps
            if rows.step.kind == INT:
                keep &= _between(rows.step.bits, low, high)
            else:
                steps = cast("list[int]", rows.step.values(0, rows.rows))
                keep &= np.array([low <= step <= high for step in steps], np.bool_)
        if self._needs_time:
            times = self._relative(dense_numbers(rows.time, rows.rows))
            keep &= (times >= self._times[0]) & (times <= self._times[1])
        return rows if keep.all() else rows.pick(np.flatnonzero(keep))

    def _since(self, time: float | None) -> float | None:
        if time is None or self._origin is None:
            return time
        return float(round_to_microseconds(np.array([time - self._origin]))[0])

    def _relative(self, times: Float64Array) -> Float64Array:
        return times if self._origin is None else relative_times(times, self._origin)


class Smoothed:
    """Smooths the metrics of rows that come in pieces."""

    def __init__(self, request: PlotRequest) -> None:
        self._request = request
        self._metrics: dict[str, Smoothing] = {}

    def smooth(self, rows: Frame) -> Frame:
        """The next rows, smoothed if that was asked for."""
        if not self._request.smoothing:
            return rows
        wanted = rows.columns if self._request.metrics is None else self._request.metrics
        columns: dict[str, Column] = {}
        for key in wanted:
            column = rows.columns.get(key)
            if column is not None:
                smoothing = self._metrics.setdefault(key, Smoothing(self._request.smoothing))
                bits = smoothing.smooth(column.numbers()).view(np.int64)
                columns[key] = Column(column.rows, FLOAT, None, bits)
        return Frame(rows.rows, rows.time, rows.step, columns)


def x_of(rows: Frame, request: PlotRequest, origin: float) -> Float64Array:
    """Where each row is drawn."""
    if request.x == "step":
        if rows.step.kind == INT:
            return rows.step.bits.astype(np.float64)
        return comparable(rows.step, rows.rows)
    times = dense_numbers(rows.time, rows.rows)
    return relative_times(times, origin) if request.x == "time" else times


def relative_times(times: Float64Array, origin: float) -> Float64Array:
    """Seconds since `origin` with 6 decimals, as the other answers about metrics have them."""
    return round_to_microseconds(times - origin)


def in_order(rows: Frame, request: PlotRequest) -> Frame:
    """By x; rows of equal time by step."""
    if not request.needs_time:
        return rows
    times = dense_numbers(rows.time, rows.rows)
    if bool((times[1:] >= times[:-1]).all()):
        return rows
    return _permuted(rows, np.argsort(times, kind="stable"))


def _permuted(rows: Frame, at: Int64Array) -> Frame:
    back = np.empty(len(at), np.int64)
    back[at] = np.arange(len(at))

    def moved(column: Column) -> Column:
        if column.rows is None:
            return column.take(at, None)
        places = back[column.rows]
        order = np.argsort(places)
        return column.take(order, places[order])

    columns = {key: moved(column) for key, column in rows.columns.items()}
    return Frame(rows.rows, moved(rows.time), moved(rows.step), columns)


def _between(bits: Int64Array, low: float, high: float) -> Any:
    limits = np.iinfo(np.int64)
    if low > limits.max or high < limits.min or low > high:
        return np.zeros(len(bits), np.bool_)
    lowest = limits.min if low <= limits.min else int(-(-low // 1))
    highest = limits.max if high >= limits.max else int(high // 1)
    return (bits >= lowest) & (bits <= highest)


def _within(low: float | None, high: float | None, bounds: tuple[float, float]) -> bool:
    return low is not None and high is not None and bounds[0] <= low and high <= bounds[1]


def _touches(low: float | None, high: float | None, bounds: tuple[float, float]) -> bool:
    return low is None or high is None or (low <= bounds[1] and high >= bounds[0])
