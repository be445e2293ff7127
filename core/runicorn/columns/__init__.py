"""Metric points as columns: built from events, stored in compressed pieces, answered as rows.

    events ── build_frame, build_frame_from_lines ──▶ Frame ── encode_frame, split_frame ──▶ bytes
    bytes ── decode_frame, join_frame ──▶ Frame ── rows_by_step, rows_by_time ──▶ Table ── encode_table ──▶ JSON

A `Frame` holds consecutive metric events of one stream: event time, step, and a `Column` of exact cells per key; `concat`,
`Frame.slice` and `Frame.select` give others. How a growing series is cut into stored pieces says `plan_fold`. Damaged bytes
raise `DamagedFrame`. No frame or column is ever changed in place.

A `StoredSeries` keeps the frames of a stream in SQLite (tables of `SERIES_SCHEMA`), with `Chunk`s that say what a reader
wants to know first and levels of sampled rows for plots; `append_events` writes. The read model of the plugin `runs` has
one for each run stream: `StoredSeries(connection, stream_id)` in a function given to `store.model("runs").run`.
"""

from runicorn.columns.appending import SeriesInMemory, SeriesPart
from runicorn.columns.chunks import CHUNK_ROWS, Fold, Piece, plan_fold
from runicorn.columns.codec import Outline, SplitFrame, decode_frame, encode_frame, join_frame, outline_of, split_frame
from runicorn.columns.column import BIG, BOOL, FLOAT, INT, MISSING, MIXED, NULL, TEXT, Column, Float64Array, Int64Array
from runicorn.columns.frame import NO_ROWS, Frame, build_frame, concat, step_of
from runicorn.columns.lines import build_frame_from_lines
from runicorn.columns.meanings import SERIES_MEANINGS
from runicorn.columns.numbers import comparable, dense_numbers, first_extremes, metric_rows, sampled
from runicorn.columns.packing import DamagedFrame
from runicorn.columns.rows import STEP, TIME, Table, merge_steps, round_to_microseconds, rows_by_step, rows_by_time
from runicorn.columns.series import BUCKETS, LEVELS, POSITION, SERIES_SCHEMA, Chunk, StoredSeries, stream_id_of
from runicorn.columns.series import append as append_events
from runicorn.columns.table_json import encode_rows, encode_table

__all__ = [
    "BIG",
    "BOOL",
    "BUCKETS",
    "CHUNK_ROWS",
    "FLOAT",
    "INT",
    "LEVELS",
    "MISSING",
    "MIXED",
    "NO_ROWS",
    "NULL",
    "POSITION",
    "SERIES_MEANINGS",
    "SERIES_SCHEMA",
    "STEP",
    "TEXT",
    "TIME",
    "Chunk",
    "Column",
    "DamagedFrame",
    "Float64Array",
    "Fold",
    "Frame",
    "Int64Array",
    "Outline",
    "Piece",
    "SeriesInMemory",
    "SeriesPart",
    "SplitFrame",
    "StoredSeries",
    "Table",
    "append_events",
    "build_frame",
    "build_frame_from_lines",
    "comparable",
    "concat",
    "decode_frame",
    "dense_numbers",
    "encode_frame",
    "encode_rows",
    "encode_table",
    "first_extremes",
    "join_frame",
    "merge_steps",
    "metric_rows",
    "outline_of",
    "plan_fold",
    "round_to_microseconds",
    "rows_by_step",
    "rows_by_time",
    "sampled",
    "split_frame",
    "step_of",
    "stream_id_of",
]
