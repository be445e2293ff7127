"""Metric points as columns: built from events, stored in compressed pieces, answered as rows.

    events ── build_frame, build_frame_from_lines ──▶ Frame ── encode_frame, split_frame ──▶ bytes
    bytes ── decode_frame, join_frame ──▶ Frame ── rows_by_step, rows_by_time ──▶ Table ── encode_table ──▶ JSON

A `Frame` holds consecutive metric events of one stream: event time, step, and a `Column` of exact cells per key; `concat`,
`Frame.slice` and `Frame.select` give others. How a growing series is cut into stored pieces says `plan_fold`. Damaged bytes
raise `DamagedFrame`. Nothing here knows where the bytes are stored, and nothing is ever changed in place.
"""

from runicorn.columns.chunks import CHUNK_ROWS, Fold, Piece, plan_fold
from runicorn.columns.codec import SplitFrame, decode_frame, encode_frame, join_frame, split_frame
from runicorn.columns.column import BIG, BOOL, FLOAT, INT, MISSING, MIXED, NULL, TEXT, Column
from runicorn.columns.frame import Frame, build_frame, concat, step_of
from runicorn.columns.lines import build_frame_from_lines
from runicorn.columns.packing import DamagedFrame
from runicorn.columns.rows import Table, rows_by_step, rows_by_time
from runicorn.columns.table_json import encode_table

__all__ = [
    "BIG",
    "BOOL",
    "CHUNK_ROWS",
    "FLOAT",
    "INT",
    "MISSING",
    "MIXED",
    "NULL",
    "TEXT",
    "Column",
    "DamagedFrame",
    "Fold",
    "Frame",
    "Piece",
    "SplitFrame",
    "Table",
    "build_frame",
    "build_frame_from_lines",
    "concat",
    "decode_frame",
    "encode_frame",
    "encode_table",
    "join_frame",
    "plan_fold",
    "rows_by_step",
    "rows_by_time",
    "split_frame",
    "step_of",
]
