"""How the tables of a series are compared with those of another file, in which streams have other numbers.

How the tail of a series is cut depends on how its events arrived: it is compared as one frame. The order in which a column
lists its texts does, too: frames whose bytes differ are compared cell by cell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import cast

import numpy as np

from runicorn.columns.chunks import CHUNK_ROWS
from runicorn.columns.codec import decode_frame, encode_frame, join_frame
from runicorn.columns.column import BIG, NULL, TEXT, Column, Int64Array
from runicorn.columns.frame import Frame, concat
from runicorn.columns.packing import DamagedFrame
from runicorn.projection.meaning import Meaning, Values

_FIRST_ROW = (1 << 32) - 1


def _by_stream(table: str, number: str, columns: str, *, shift: int = 0, more_keys: str = "", join: str = "") -> str:
    """Rows in the order of the streams' names; those that belong to no stream come first."""
    low, high = f"s.id << {32 + shift}", f"(s.id + 1) << {32 + shift}"
    row = f"(t.{number} >> {shift}) & {_FIRST_ROW}"
    level = f"t.{number} & {(1 << shift) - 1} AS level, " if shift else ""
    said = f"{row} AS row, {level}{columns}"
    order = f"1, t.{number}{more_keys}"
    return (
        f"SELECT * FROM (SELECT NULL AS stream, {said} FROM {table} AS t {join}"
        f" WHERE NOT EXISTS (SELECT 1 FROM stream AS s WHERE s.id = t.{number} >> {32 + shift}) ORDER BY {order})"
        f" UNION ALL SELECT * FROM (SELECT s.name AS stream, {said} FROM stream AS s CROSS JOIN {table} AS t"
        f" ON t.{number} >= {low} AND t.{number} < {high} {join} ORDER BY {order})"
    )


def _whole_tails(rows: Iterator[Values]) -> Iterator[Values]:
    """Sealed chunks as they are, and one row for what follows the last one of a stream."""
    for stream, of_stream in groupby(rows, key=lambda row: row[0]):
        tail: list[Values] = []
        for row in of_stream:
            if row[2] == CHUNK_ROWS:
                yield row
            else:
                tail.append(row)
        if tail:
            yield (stream, tail[0][1], sum(cast(int, row[2]) for row in tail), _joined([row[3] for row in tail]))


def _joined(frames: Sequence[object]) -> bytes:
    pieces = [cast(bytes, frame) for frame in frames]
    if len(pieces) == 1:
        return pieces[0]
    try:
        return encode_frame(concat([decode_frame(piece) for piece in pieces]))
    except DamagedFrame:
        return b"".join(pieces)


def _are_same_frames(one: Values, other: Values) -> bool:
    """Rows that end with a frame."""
    try:
        return one[:-1] == other[:-1] and _is_same(decode_frame(_bytes(one[-1])), decode_frame(_bytes(other[-1])))
    except DamagedFrame:
        return False


def _are_same_columns(one: Values, other: Values) -> bool:
    """Rows that end with a column of a chunk and the index of that chunk."""
    try:
        return one[:-2] == other[:-2] and _is_same(
            *(join_frame(_bytes(row[-1]), [_bytes(row[-2])]) for row in (one, other))
        )
    except DamagedFrame:
        return False


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise DamagedFrame("no bytes")
    return value


def _is_same(one: Frame, other: Frame) -> bool:
    pairs = [(one.time, other.time), (one.step, other.step)]
    pairs += [(column, other.columns[key]) for key, column in one.columns.items() if key in other.columns]
    return (
        one.rows == other.rows
        and one.columns.keys() == other.columns.keys()
        and all(_is_same_column(first, second) for first, second in pairs)
    )


def _is_same_column(one: Column, other: Column) -> bool:
    kinds = one.kind_of_each()
    if not np.array_equal(_rows_of(one), _rows_of(other)) or not np.array_equal(kinds, other.kind_of_each()):
        return False
    are_objects = (kinds == TEXT) | (kinds == BIG)
    are_bits = ~are_objects & (kinds != NULL)
    ours, theirs = ([column.objects[at] for at in column.bits[are_objects].tolist()] for column in (one, other))
    return ours == theirs and np.array_equal(one.bits[are_bits], other.bits[are_bits])


def _rows_of(column: Column) -> Int64Array:
    return np.arange(len(column)) if column.rows is None else column.rows


SERIES_MEANINGS: Mapping[str, Meaning | None] = {
    "metric_frame": Meaning(
        _by_stream("metric_frame", "id", "t.rows, t.frame"), 2, fold=_whole_tails, is_same=_are_same_frames
    ),
    "metric_column": Meaning(
        _by_stream(
            "metric_column",
            "frame_id",
            't.name, t.column, f.frame AS "index"',
            more_keys=", t.name",
            join="LEFT JOIN metric_frame AS f ON f.id = t.frame_id",
        ),
        3,
        is_same=_are_same_columns,
    ),
    "metric_chunk": Meaning(
        _by_stream("metric_chunk", "frame_id", "t.points, t.levels, t.min_step, t.max_step, t.min_time, t.max_time"),
        2,
    ),
    "metric_level": Meaning(
        _by_stream("metric_level", "id", "t.chunks, t.frame", shift=2), 3, is_same=_are_same_frames
    ),
}
"""Of the tables of `SERIES_SCHEMA`, for a projection's `meanings`."""
