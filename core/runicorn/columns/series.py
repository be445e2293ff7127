"""The metric events of a stream as a series in SQLite: pieces that grow, sealed chunks, and levels for plots.

| table           | id                               | content                                                          |
|-----------------|----------------------------------|------------------------------------------------------------------|
| `metric_frame`  | stream, first row                | a frame of the tail, or the index of a sealed chunk              |
| `metric_column` | of the chunk, name               | a column of a sealed chunk, so that one of twenty is read alone  |
| `metric_chunk`  | of the chunk                     | what a reader wants to know of a sealed chunk before it reads it |
| `metric_level`  | stream, first row, level         | sampled rows of 16 to 64 chunks, or of one while they are fewer  |

A row of a frame is one event, unmerged and in file order; `chunks` says how a series is cut. A row of a level is one
*merged* row with its exact values (see `numbers`): the last of each chunk, and from each bucket of 256, 1024 or 4096 rows
the first, and the first minimum and maximum of each metric. So a plot of a million points reads some thousand rows.
`POSITION` holds which row of its chunk each is. Levels stand for the series as long as no step of a chunk is in an earlier
one; where that is not so, readers merge everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, cast

import apsw
import msgspec
import numpy as np

from runicorn.columns.chunks import CHUNK_ROWS, Piece, plan_fold
from runicorn.columns.codec import (
    Outline,
    SplitFrame,
    decode_frame,
    encode_frame,
    join_frame,
    outline_of,
    split_frame,
)
from runicorn.columns.column import INT, Column
from runicorn.columns.frame import Frame, concat
from runicorn.columns.numbers import metric_rows, sampled
from runicorn.columns.rows import merge_steps

SERIES_SCHEMA = """
    CREATE TABLE metric_frame(
        id INTEGER PRIMARY KEY,      -- stream_id << 32 | first row
        rows INTEGER NOT NULL, frame BLOB NOT NULL);
    CREATE TABLE metric_column(
        frame_id INTEGER NOT NULL, name TEXT NOT NULL, column BLOB NOT NULL, UNIQUE(frame_id, name));
    CREATE TABLE metric_chunk(
        frame_id INTEGER PRIMARY KEY,
        points INTEGER NOT NULL,     -- merged rows with a number
        levels INTEGER NOT NULL,     -- has the levels from this one on
        min_step INTEGER, max_step INTEGER,   -- NULL if an event has none, or one beyond 64 bits
        min_time REAL, max_time REAL);        -- NULL if an event has no time
    CREATE TABLE metric_level(
        id INTEGER PRIMARY KEY,      -- (stream_id << 32 | first row) << 2 | level
        chunks INTEGER NOT NULL, frame BLOB NOT NULL);
"""

PUT_FRAME = "INSERT OR REPLACE INTO metric_frame VALUES (?, ?, ?)"

POSITION = "step"
"""In frames of levels the column of positions; no metric can have this name."""

BUCKETS = (256, 1024, CHUNK_ROWS)
"""Rows of a chunk that one bucket of level 0, 1, 2 stands for."""
LEVELS = len(BUCKETS)
_CHUNKS_PER_PAGE = (16, 32, 64)
_MOST_SAMPLED = (CHUNK_ROWS // 16, CHUNK_ROWS // 16, CHUNK_ROWS // 4)  # beyond it a level saves less than it costs

_START_BITS = 32  # a stream has fewer than 2**32 metric events
_LEVEL_BITS = 2


def stream_id_of(db: Executes, key: str) -> int | None:
    """The id in this file of the stream with that name; None if nothing of it was applied."""
    rows = db.execute("SELECT id FROM stream WHERE name = ?", (key,)).fetchall()
    return cast(int, rows[0][0]) if rows else None


class Executes(Protocol):
    """A connection to SQLite, or `runicorn.plugin.Tables`."""

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> apsw.Cursor:
        """Run one statement."""
        ...

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]], /) -> Any:
        """Run one statement for each row of parameters."""
        ...


class Chunk(msgspec.Struct, frozen=True):
    """A sealed chunk, without its rows."""

    start: int
    """Its first row."""
    points: int
    """Merged rows that count."""
    levels: int
    """The finest level that it has; `LEVELS` if it has none."""
    min_step: int | None
    max_step: int | None
    min_time: float | None
    max_time: float | None


class StoredSeries:
    """The series of one stream in the tables of `SERIES_SCHEMA`."""

    def __init__(self, db: Executes, stream_id: int) -> None:
        self._db = db
        self._first = stream_id << _START_BITS
        self._bounds = (self._first, stream_id + 1 << _START_BITS)
        self._level_bounds = (self._bounds[0] << _LEVEL_BITS, self._bounds[1] << _LEVEL_BITS)

    # ── reading ─────────────────────────────────────────────────────────────

    def frames(self) -> list[Frame]:
        """All events, in order."""
        columns: dict[int, list[bytes]] = {}
        for frame_id, column in self._db.execute(
            "SELECT frame_id, column FROM metric_column WHERE frame_id >= ? AND frame_id < ?", self._bounds
        ):
            columns.setdefault(cast(int, frame_id), []).append(cast(bytes, column))
        rows = self._db.execute("SELECT id, frame FROM metric_frame WHERE id >= ? AND id < ? ORDER BY id", self._bounds)
        return [join_frame(cast(bytes, frame), columns.get(cast(int, frame_id), ())) for frame_id, frame in rows]

    def chunks(self) -> list[Chunk]:
        """What is known of the sealed chunks, in order."""
        rows = self._db.execute(
            "SELECT frame_id - ?, points, levels, min_step, max_step, min_time, max_time FROM metric_chunk"
            " WHERE frame_id >= ? AND frame_id < ? ORDER BY frame_id",
            (self._first, *self._bounds),
        )
        return [Chunk(*row) for row in rows]  # type: ignore[arg-type]  # the columns of the table

    def chunk(self, start: int, columns: Sequence[str] | None = None) -> Frame:
        """A sealed chunk, with all its columns or those named."""
        frame_id = self._first + start
        index = self._db.execute("SELECT frame FROM metric_frame WHERE id = ?", (frame_id,)).fetchall()
        sql = "SELECT column FROM metric_column WHERE frame_id = ?"
        if columns is None:
            blobs = [cast(bytes, row[0]) for row in self._db.execute(sql, (frame_id,))]
        else:
            found = (self._db.execute(f"{sql} AND name = ?", (frame_id, name)).fetchall() for name in columns)
            blobs = [cast(bytes, rows[0][0]) for rows in found if rows]
        return join_frame(cast(bytes, index[0][0]), blobs)

    def names(self, start: int) -> list[str]:
        """The columns of a sealed chunk."""
        sql = "SELECT name FROM metric_column WHERE frame_id = ?"
        return [str(row[0]) for row in self._db.execute(sql, (self._first + start,))]

    def tail_frames(self, start: int) -> list[Frame]:
        """The events from row `start` on, where the last sealed chunk ends."""
        sql = "SELECT frame FROM metric_frame WHERE id >= ? AND id < ? ORDER BY id"
        return [
            decode_frame(cast(bytes, row[0])) for row in self._db.execute(sql, (self._first + start, self._bounds[1]))
        ]

    def level(self, level: int, start: int, end: int) -> Iterator[tuple[int, Frame]]:
        """The frames of a level that stand for chunks from row `start` to `end`, each with the row that it begins with.

        The first and the last may stand for others, too.
        """
        for frame_start, _, frame in self._level_frames(level, start, end):
            yield frame_start, decode_frame(frame)

    def level_outlines(self, level: int, start: int, end: int) -> Iterator[tuple[int, int, Outline]]:
        """The same frames without their cells: where each begins, and the row behind the last that it stands for."""
        for frame_start, chunks, frame in self._level_frames(level, start, end):
            yield frame_start, frame_start + chunks * CHUNK_ROWS, outline_of(frame)

    def _level_frames(self, level: int, start: int, end: int) -> Iterator[tuple[int, int, bytes]]:
        page = _CHUNKS_PER_PAGE[level] * CHUNK_ROWS
        first = self._first + start // page * page
        rows = self._db.execute(
            "SELECT id >> ?, chunks, frame FROM metric_level WHERE id >= ? AND id < ? AND id & ? = ? ORDER BY id",
            (_LEVEL_BITS, first << _LEVEL_BITS, self._first + end << _LEVEL_BITS, LEVELS, level),
        )
        for frame_id, chunks, frame in rows:
            yield cast(int, frame_id) - self._first, cast(int, chunks), cast(bytes, frame)

    # ── writing ─────────────────────────────────────────────────────────────

    def tail(self) -> tuple[Sequence[Piece], int]:
        """The pieces that are not sealed, in order, and the row behind the last."""
        tail: list[Piece] = []
        end = 0
        cursor = self._db.execute(
            "SELECT id - ?, rows FROM metric_frame WHERE id >= ? AND id < ? ORDER BY id DESC",
            (self._first, *self._bounds),
        )
        for start, rows in cursor:
            piece = Piece(cast(int, start), cast(int, rows))
            end = end or piece.start + piece.rows
            if piece.sealed:
                break
            tail.append(piece)
        cursor.close()
        return tail[::-1], end

    def read(self, start: int) -> Frame:
        """A piece of the tail."""
        rows = self._db.execute("SELECT frame FROM metric_frame WHERE id = ?", (self._first + start,)).fetchall()
        return decode_frame(cast(bytes, rows[0][0]))

    def drop(self, start: int) -> None:
        """Remove a piece of the tail."""
        self._db.execute("DELETE FROM metric_frame WHERE id = ?", (self._first + start,))

    def put(self, start: int, frame: Frame) -> None:
        """Write a piece of the tail."""
        self.put_bytes(start, frame.rows, encode_frame(frame))

    def put_bytes(self, start: int, rows: int, frame: bytes) -> None:
        """Write a piece of the tail, or the index of a chunk."""
        self._db.execute(PUT_FRAME, self.frame_row(start, rows, frame))

    def frame_row(self, start: int, rows: int, frame: bytes) -> tuple[int, int, bytes]:
        """The parameters of `PUT_FRAME` for a piece of the tail."""
        return self._first + start, rows, frame

    def seal(self, chunk: Chunk, split: SplitFrame) -> None:
        """Write a chunk."""
        frame_id = self._first + chunk.start
        self.put_bytes(chunk.start, CHUNK_ROWS, split.index)
        self._db.executemany(
            "INSERT INTO metric_column VALUES (?, ?, ?)",
            ((frame_id, name, column) for name, column in split.columns.items()),
        )
        _, *facts = msgspec.structs.astuple(chunk)
        self._db.execute("INSERT INTO metric_chunk VALUES (?, ?, ?, ?, ?, ?, ?)", (frame_id, *facts))

    def level_frame(self, level: int, start: int) -> Frame | None:
        """What a level has of the chunk that begins at `start`, while it stands alone."""
        sql = "SELECT frame FROM metric_level WHERE id = ?"
        rows = self._db.execute(sql, (self._level_id(level, start),)).fetchall()
        return decode_frame(cast(bytes, rows[0][0])) if rows else None

    def drop_level(self, level: int, start: int) -> None:
        """Remove a frame of a level."""
        self._db.execute("DELETE FROM metric_level WHERE id = ?", (self._level_id(level, start),))

    def put_level(self, level: int, start: int, chunks: int, frame: Frame) -> None:
        """Write a frame of a level."""
        self.put_level_bytes(level, start, chunks, encode_frame(frame))

    def put_level_bytes(self, level: int, start: int, chunks: int, frame: bytes) -> None:
        """Write an encoded frame of a level."""
        self._db.execute(
            "INSERT OR REPLACE INTO metric_level VALUES (?, ?, ?)", (self._level_id(level, start), chunks, frame)
        )

    def forget(self) -> None:
        """Delete everything."""
        self._db.execute("DELETE FROM metric_frame WHERE id >= ? AND id < ?", self._bounds)
        for table in ("metric_column", "metric_chunk"):
            self._db.execute(f"DELETE FROM {table} WHERE frame_id >= ? AND frame_id < ?", self._bounds)
        self._db.execute("DELETE FROM metric_level WHERE id >= ? AND id < ?", self._level_bounds)

    def _level_id(self, level: int, start: int) -> int:
        return self._first + start << _LEVEL_BITS | level


class SeriesTarget(Protocol):
    """Where `append` writes: `StoredSeries`, or a list of what is to be written later."""

    def tail(self) -> tuple[Sequence[Piece], int]: ...
    def read(self, start: int) -> Frame: ...
    def drop(self, start: int) -> None: ...
    def put(self, start: int, frame: Frame) -> None: ...
    def seal(self, chunk: Chunk, split: SplitFrame) -> None: ...
    def level_frame(self, level: int, start: int) -> Frame | None: ...
    def drop_level(self, level: int, start: int) -> None: ...
    def put_level(self, level: int, start: int, chunks: int, frame: Frame) -> None: ...


def append(series: SeriesTarget, frame: Frame, *, is_new: bool = False) -> None:
    """Append events (at least one) to a series; `is_new` if it has none. Deterministic."""
    if is_new and frame.rows < CHUNK_ROWS:
        series.put(0, frame)  # as `plan_fold` would say
        return
    tail, start = ([], 0) if is_new else series.tail()
    fold = plan_fold(tail, start, frame.rows)
    absorbed = [series.read(piece.start) for piece in fold.absorbed]
    kept = {piece.start for piece in fold.written}
    for piece in fold.absorbed:
        if piece.start not in kept:
            series.drop(piece.start)
    for piece, content in zip(fold.written, fold.frames(absorbed, frame), strict=True):
        if piece.sealed:
            _seal(series, piece.start, content)
        else:
            series.put(piece.start, content)


def _seal(series: SeriesTarget, start: int, events: Frame) -> None:
    rows = metric_rows(merge_steps(events))
    samples = [
        at if 0 < len(at) <= most else None for at, most in zip(sampled(rows, BUCKETS), _MOST_SAMPLED, strict=True)
    ]
    finest = next((level for level in range(LEVELS) if all(at is not None for at in samples[level:])), LEVELS)
    series.seal(_chunk(start, events, rows.rows, finest), split_frame(events))
    for level, at in enumerate(samples):
        if at is not None and level >= finest:
            position = Column(None, INT, None, at)
            picked = rows.pick(at)
            picked = Frame(picked.rows, picked.time, picked.step, {POSITION: position, **picked.columns})
            series.put_level(level, start, 1, picked)
        _fold_level(series, level, start)


def _fold_level(series: SeriesTarget, level: int, start: int) -> None:
    """Once a page of chunks is full, one frame takes the place of all."""
    chunks = _CHUNKS_PER_PAGE[level]
    number = start // CHUNK_ROWS
    if (number + 1) % chunks:
        return
    starts = [(number - i) * CHUNK_ROWS for i in range(chunks)][::-1]
    found = {at: frame for at in starts if (frame := series.level_frame(level, at)) is not None}
    if found:
        for at in found:
            series.drop_level(level, at)
        series.put_level(level, starts[0], chunks, concat(found.values()))


def _chunk(start: int, events: Frame, points: int, finest: int) -> Chunk:
    steps, times = events.step, events.time
    has_steps = steps.kind == INT and len(steps) == events.rows
    seconds = times.bits.view(np.float64)
    return Chunk(
        start=start,
        points=points,
        levels=finest,
        min_step=int(steps.bits.min()) if has_steps else None,
        max_step=int(steps.bits.max()) if has_steps else None,
        min_time=float(seconds.min()) if len(times) == events.rows else None,
        max_time=float(seconds.max()) if len(times) == events.rows else None,
    )
