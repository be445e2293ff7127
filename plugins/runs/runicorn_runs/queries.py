"""Tables → structs: the SQL behind the routes. Functions take a connection to the read model of this plugin."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import apsw
import msgspec

from runicorn.columns import Frame, StoredSeries, stream_id_of
from runicorn.plugin import EVENTS_FILE, LIST_ORDER, LOGS_FILE, RUNNING, RunNotFound


class RunListItem(msgspec.Struct, frozen=True):
    """An item of `GET /api/runs`."""

    run_id: str = msgspec.field(name="id")
    run_dir: str
    created_time: float | None
    status: str
    pid: int | None
    best_metric_value: float | None
    best_metric_name: str | None
    project: str | None
    name: str | None
    artifacts_created_count: int
    artifacts_used_count: int


class RunDetail(msgspec.Struct, frozen=True):
    """The answer of `GET /api/runs/{run_id}`; the three paths are given whether or not the files exist."""

    run_id: str = msgspec.field(name="id")
    status: str
    pid: int | None
    run_dir: str
    project: str | None
    name: str | None
    logs: str
    metrics: str
    metrics_step: str
    artifacts_created_count: int
    artifacts_used_count: int


_ITEM = (
    "run_id, ? || '/' || key, created, status, pid, best_value, best_name, project, name,"
    " artifacts_created, artifacts_used"
)


def items_changed_since(db: apsw.Connection, root: Path, counter: int) -> Iterator[tuple[int, RunListItem | None]]:
    """Runs whose row changed after `counter`, by row id; None for those that are not listed (any more)."""
    rows = db.execute(f"SELECT rowid, listed, {_ITEM} FROM run WHERE changed > ?", (str(root), counter))
    for row_id, listed, *item in rows:
        yield cast(int, row_id), RunListItem(*item) if listed else None  # type: ignore[arg-type]


def rows_in_list_order(db: apsw.Connection) -> Iterator[int]:
    """Row ids of the listed runs, in list order."""
    return (cast(int, row[0]) for row in db.execute(f"SELECT rowid FROM run WHERE listed ORDER BY {LIST_ORDER}"))


def run_detail(db: apsw.Connection, root: Path, key: str) -> RunDetail:
    """What is known of a run. RunNotFound if it is not listed (any more)."""
    rows = db.execute(f"SELECT {_ITEM} FROM run WHERE key = ? AND listed", (str(root), key)).fetchall()
    if not rows:
        raise RunNotFound(key.rpartition("/")[2])
    item = RunListItem(*rows[0])  # type: ignore[arg-type]
    events = f"{item.run_dir}/{EVENTS_FILE}"
    return RunDetail(
        run_id=item.run_id,
        status=item.status,
        pid=item.pid,
        run_dir=item.run_dir,
        project=item.project,
        name=item.name,
        logs=f"{item.run_dir}/{LOGS_FILE}",
        metrics=events,
        metrics_step=events,
        artifacts_created_count=item.artifacts_created_count,
        artifacts_used_count=item.artifacts_used_count,
    )


def metric_frames(db: apsw.Connection, key: str) -> list[Frame]:
    """All metric events of a run in file order; empty if it has logged none."""
    stream_id = stream_id_of(db, key)
    return [] if stream_id is None else StoredSeries(db, stream_id).frames()


def is_running(db: apsw.Connection, run_id: str) -> bool:
    """Whether the run that an id means is listed, with the status `running`."""
    rows = db.execute(
        "SELECT 1 FROM run_named AS named JOIN run USING (key) WHERE named.run_id = ? AND named.listed AND status = ?",
        (run_id, RUNNING),
    )
    return bool(rows.fetchall())
