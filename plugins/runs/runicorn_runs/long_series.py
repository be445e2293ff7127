"""Answers about runs too long for memory: chunk by chunk, where no chunk has rows in common with another one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import cast

import apsw

from runicorn.columns import (
    CHUNK_ROWS,
    INT,
    STEP,
    TIME,
    Chunk,
    Frame,
    StoredSeries,
    Table,
    concat,
    encode_rows,
    merge_steps,
    rows_by_step,
    rows_by_time,
    stream_id_of,
)
from runicorn.plugin import ModelReader, StorageUnavailable

_LONG = 32  # chunks: from 131 072 events on; the answers about shorter ones are made in one piece
_APART_S = 2e-6  # times that are further apart are not equal when rounded to microseconds


def long_by_step(model: ModelReader, key: str, db: apsw.Connection) -> Iterator[bytes] | None:
    """The answer by step of a long run whose steps ascend from chunk to chunk; None: make it in one piece."""
    series = _Long.opened(db, key)
    if series is None or not series.ascends(_steps, 0):
        return None
    names = [STEP, *sorted(series.names(merged=True))]
    return _encoded(model, series, names, rows_by_step)


def long_by_time(model: ModelReader, key: str, db: apsw.Connection) -> Iterator[bytes] | None:
    """The answer by time of a long run whose times ascend from chunk to chunk; None: make it in one piece."""
    series = _Long.opened(db, key)
    if series is None or not series.ascends(_times, _APART_S):
        return None
    names = [TIME, STEP, *sorted(series.names(merged=False) - {TIME, STEP})]
    origin = series.chunks[0].min_time
    return _encoded(model, series, names, lambda frames: rows_by_time(frames, origin))


class _Long:
    """What is known of a long series when its answer begins; what is appended meanwhile is not in it."""

    def __init__(self, db: apsw.Connection, key: str, chunks: list[Chunk]) -> None:
        self.key = key
        self.chunks = chunks
        self.identity = _identity(db, key)
        self._stored = StoredSeries(db, cast(int, stream_id_of(db, key)))
        self.tail = concat(self._stored.tail_frames(chunks[-1].start + CHUNK_ROWS))

    @classmethod
    def opened(cls, db: apsw.Connection, key: str) -> _Long | None:
        """The series of a run; None if it is not long."""
        stream_id = stream_id_of(db, key)
        chunks = [] if stream_id is None else StoredSeries(db, stream_id).chunks()
        return cls(db, key, chunks) if len(chunks) >= _LONG else None

    def ascends(self, bounds: Callable[[Chunk | Frame], tuple[float, float] | None], apart: float) -> bool:
        """Whether every chunk, and then the tail, begins more than `apart` behind the end of the one before."""
        found = [bounds(chunk) for chunk in self.chunks]
        if self.tail.rows:
            found.append(bounds(self.tail))
        return None not in found and all(
            after[0] - before[1] > apart for before, after in pairwise(cast("list[tuple[float, float]]", found))
        )

    def names(self, *, merged: bool) -> set[str]:
        """The columns of all chunks and of the tail."""
        names = {name for chunk in self.chunks for name in self._stored.names(chunk.start)}
        return names.union((merge_steps(self.tail) if merged else self.tail).columns)


def _encoded(
    model: ModelReader, series: _Long, names: list[str], rows: Callable[[list[Frame]], Table]
) -> Iterator[bytes]:
    """The JSON of all chunks and of the tail; each chunk is read when its turn comes, on the thread that asks for it."""

    def tables() -> Iterator[Table]:
        for chunk in series.chunks:
            yield rows([model.read(_chunk, series.key, series.identity, chunk.start)])
        if series.tail.rows:
            yield rows([series.tail])

    yield from encode_rows(tuple(names), tables())
    yield b"}"


def _chunk(db: apsw.Connection, key: str, identity: tuple[object, ...], start: int) -> Frame:
    """A chunk, as it was when the answer began. StorageUnavailable if the run's file was replaced meanwhile."""
    if _identity(db, key) != identity:
        raise StorageUnavailable("The run was replaced while its metrics were sent. Ask again.")
    return StoredSeries(db, cast(int, stream_id_of(db, key))).chunk(start)


def _identity(db: apsw.Connection, key: str) -> tuple[object, ...]:
    return db.execute("SELECT inode, head FROM stream WHERE name = ?", (key,)).fetchall()[0]


def _steps(part: Chunk | Frame) -> tuple[float, float] | None:
    if isinstance(part, Chunk):
        return None if part.min_step is None or part.max_step is None else (part.min_step, part.max_step)
    if part.step.kind != INT or not len(part.step):
        return None
    return int(part.step.bits.min()), int(part.step.bits.max())


def _times(part: Chunk | Frame) -> tuple[float, float] | None:
    if isinstance(part, Chunk):
        return None if part.min_time is None or part.max_time is None else (part.min_time, part.max_time)
    times = part.time.numbers()
    return (float(times.min()), float(times.max())) if len(times) == part.rows else None
