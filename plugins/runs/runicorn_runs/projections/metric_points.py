"""The metric points of every run, as columns in chunks. No point is a row.

| table           | kind  | content                                                                                 |
|-----------------|-------|-----------------------------------------------------------------------------------------|
| `metric_frame`  | owned | by run stream and first row: a frame of the tail, or the index of a sealed chunk        |
| `metric_column` | owned | the columns of sealed chunks, one blob each, so that one metric of twenty is read alone |

A row of a frame is one `metrics` event, unmerged and in file order: merging by step or by time is done when reading.
`runicorn.columns` has the encoding and the policy of folding small frames into chunks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import apsw

from runicorn.columns import (
    Frame,
    Piece,
    decode_frame,
    encode_frame,
    join_frame,
    plan_fold,
    split_frame,
)
from runicorn.plugin import Batch, StreamKind, Tables
from runicorn_runs.projections.batch_frame import metric_frame

_START_BITS = 32  # a stream has fewer than 2**32 metric events


class MetricPoints:
    """See the module's docstring."""

    name = "metric_points"
    version = 1
    streams = frozenset[StreamKind]({"run"})
    schema = """
        CREATE TABLE metric_frame(
            id INTEGER PRIMARY KEY,      -- stream_id << 32 | first row
            rows INTEGER NOT NULL, frame BLOB NOT NULL);
        CREATE TABLE metric_column(
            frame_id INTEGER NOT NULL, name TEXT NOT NULL, column BLOB NOT NULL, UNIQUE(frame_id, name));
    """

    def apply(self, batch: Batch, tables: Tables) -> None:
        """Append the batch's metric events to the series of its stream."""
        frame = metric_frame(batch)
        if frame is None:
            return
        tail, start = _tail(batch.stream_id, tables) if batch.start else ([], 0)
        fold = plan_fold(tail, start, frame.rows)
        absorbed = [_read(batch.stream_id, piece, tables) for piece in fold.absorbed]
        kept = {piece.start for piece in fold.written}
        tables.executemany(
            "DELETE FROM metric_frame WHERE id = ?",
            ((_id(batch.stream_id, piece.start),) for piece in fold.absorbed if piece.start not in kept),
        )
        for piece, content in zip(fold.written, fold.frames(absorbed, frame), strict=True):
            _write(batch.stream_id, piece, content, tables)

    def forget(self, stream_id: int, tables: Tables) -> None:
        """Delete the points of a stream."""
        bounds = (_id(stream_id, 0), _id(stream_id + 1, 0))
        tables.execute("DELETE FROM metric_frame WHERE id >= ? AND id < ?", bounds)
        tables.execute("DELETE FROM metric_column WHERE frame_id >= ? AND frame_id < ?", bounds)


def read_frames(db: apsw.Connection, stream_id: int) -> list[Frame]:
    """All metric events of a stream, in order."""
    bounds = (_id(stream_id, 0), _id(stream_id + 1, 0))
    columns: dict[int, list[bytes]] = {}
    for frame_id, column in db.execute(
        "SELECT frame_id, column FROM metric_column WHERE frame_id >= ? AND frame_id < ?", bounds
    ):
        columns.setdefault(cast(int, frame_id), []).append(cast(bytes, column))
    rows = db.execute("SELECT id, frame FROM metric_frame WHERE id >= ? AND id < ? ORDER BY id", bounds)
    return [join_frame(cast(bytes, frame), columns.get(cast(int, frame_id), ())) for frame_id, frame in rows]


def _id(stream_id: int, start: int) -> int:
    return stream_id << _START_BITS | start


def _tail(stream_id: int, tables: Tables) -> tuple[Sequence[Piece], int]:
    """The pieces that are not sealed, in order, and the row behind the last."""
    tail: list[Piece] = []
    end = 0
    bounds = (_id(stream_id, 0), _id(stream_id + 1, 0))
    cursor = tables.execute("SELECT id, rows FROM metric_frame WHERE id >= ? AND id < ? ORDER BY id DESC", bounds)
    for frame_id, rows in cursor:
        piece = Piece(cast(int, frame_id) & ((1 << _START_BITS) - 1), cast(int, rows))
        end = end or piece.start + piece.rows
        if piece.sealed:
            break
        tail.append(piece)
    cursor.close()
    return tail[::-1], end


def _read(stream_id: int, piece: Piece, tables: Tables) -> Frame:
    rows = tables.execute("SELECT frame FROM metric_frame WHERE id = ?", (_id(stream_id, piece.start),)).fetchall()
    return decode_frame(cast(bytes, rows[0][0]))


def _write(stream_id: int, piece: Piece, frame: Frame, tables: Tables) -> None:
    frame_id = _id(stream_id, piece.start)
    if not piece.sealed:
        tables.execute(
            "INSERT OR REPLACE INTO metric_frame VALUES (?, ?, ?)", (frame_id, piece.rows, encode_frame(frame))
        )
        return
    split = split_frame(frame)
    tables.execute("INSERT OR REPLACE INTO metric_frame VALUES (?, ?, ?)", (frame_id, piece.rows, split.index))
    tables.executemany(
        "INSERT INTO metric_column VALUES (?, ?, ?)",
        ((frame_id, name, column) for name, column in split.columns.items()),
    )
