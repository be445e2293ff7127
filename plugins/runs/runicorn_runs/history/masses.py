"""What a run logs in masses, summarised: metric events and images, how many, from when to when."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import apsw
import msgspec

from runicorn.columns import Frame, join_frame, stream_id_of
from runicorn.plugin import METRICS, moment_text
from runicorn_runs.history.labels import IMAGE

_MAX_INT64 = (1 << 63) - 1
_FRAMES = "FROM metric_frame WHERE id >= ?1 << 32 AND id < (?1 + 1) << 32"


class Mass(msgspec.Struct, frozen=True):
    """Events of one type. The first and the last are those in the order of the log."""

    type: str
    count: int
    first_step: int | None
    last_step: int | None
    first_ts: float | None
    """Unix seconds."""
    last_ts: float | None
    first_time: str | None
    """ISO 8601, in UTC."""
    last_time: str | None


def masses(db: apsw.Connection, key: str) -> list[Mass]:
    """What there is of metric events and images of a run; those that it has none of are left out."""
    stream_id = stream_id_of(db, key)
    found = [] if stream_id is None else [_points(db, stream_id), _images(db, stream_id)]
    return [mass for mass in found if mass is not None]


def _points(db: apsw.Connection, stream_id: int) -> Mass | None:
    count = cast("int | None", db.execute(f"SELECT sum(rows) {_FRAMES}", (stream_id,)).fetchall()[0][0])
    if not count:
        return None
    first, last = (
        _index(db.execute(f"SELECT frame {_FRAMES} ORDER BY id {order} LIMIT 1", (stream_id,)).fetchall())
        for order in ("ASC", "DESC")
    )
    return _mass(METRICS, count, _row(first, 0), _row(last, last.rows - 1))


def _images(db: apsw.Connection, stream_id: int) -> Mass | None:
    count = cast(int, db.execute("SELECT count(*) FROM run_image WHERE stream_id = ?", (stream_id,)).fetchall()[0][0])
    if not count:
        return None
    first, last = (
        db.execute(
            f"SELECT step, ts FROM run_image WHERE stream_id = ? ORDER BY offset {order} LIMIT 1", (stream_id,)
        ).fetchall()[0]
        for order in ("ASC", "DESC")
    )
    return _mass(IMAGE, count, first, last)


def _index(rows: Sequence[Sequence[Any]]) -> Frame:
    """Times and steps of a frame, without its other columns where it is a sealed chunk."""
    return join_frame(cast(bytes, rows[0][0]), ())


def _row(frame: Frame, row: int) -> tuple[Any, Any]:
    return frame.step.values(row, row + 1)[0], frame.time.values(row, row + 1)[0]


def _mass(type: str, count: int, first: Sequence[Any], last: Sequence[Any]) -> Mass:
    steps = [step if step is not None and abs(step) <= _MAX_INT64 else None for step, _ in (first, last)]
    times = [ts if ts is not None and math.isfinite(ts) else None for _, ts in (first, last)]
    texts = [None if ts is None else moment_text(ts) for ts in times]
    return Mass(type, count, steps[0], steps[1], times[0], times[1], texts[0], texts[1])
