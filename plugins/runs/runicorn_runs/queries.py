"""Tables → structs: the SQL behind the routes. Functions take a connection to the read model of this plugin."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, cast

import apsw
import msgspec

from runicorn.columns import Frame, StoredSeries, stream_id_of
from runicorn.plugin import EVENTS_FILE, LIST_ORDER, LOGS_FILE, RUNNING, RunNotFound
from runicorn_runs.attributes import parsed


class RunListItem(msgspec.Struct, frozen=True, omit_defaults=True):
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
    source: str | None = None
    """Of a run of another machine: `user@host:port`. Left out otherwise."""


class RunDetail(msgspec.Struct, frozen=True, omit_defaults=True):
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
    stale: bool = False
    """True: it says that it is running, but has been silent for long. Left out otherwise."""
    last_activity: float | None = None
    """Of a stale run: when it was active last."""
    source: str | None = None
    """Of a run of another machine: `user@host:port`. Left out otherwise."""


class DeletedRun(msgspec.Struct, frozen=True):
    """An item of `GET /api/recycle-bin`."""

    run_id: str = msgspec.field(name="id")
    project: str | None
    name: str | None
    created_time: float | None
    deleted_at: float
    delete_reason: str
    original_status: str
    run_dir: str


_ITEM = (
    "run_id, ? || '/' || key, created, status, pid, best_value, best_name, project, name,"
    " artifacts_created, artifacts_used, source"
)


def run_state(db: apsw.Connection, key: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `status.json` and `summary.json` of a run would say."""
    for status, started, ended, reason, summary in db.execute(
        "SELECT status, started, ended, exit_reason, summary FROM run WHERE key = ?", (key,)
    ).fetchall():
        return (
            {"status": status, "started_at": started, "ended_at": ended, "exit_reason": reason},
            parsed(cast(bytes, summary)),
        )
    raise RunNotFound(key.rpartition("/")[2])


def rows_changed_since(db: apsw.Connection, counter: int) -> Iterator[int]:
    """Row ids of the runs whose row changed after `counter`, listed or not."""
    return (cast(int, row[0]) for row in db.execute("SELECT rowid FROM run WHERE changed > ?", (counter,)))


def items_of(db: apsw.Connection, root: Path, row_ids: Collection[int]) -> Iterator[tuple[int, RunListItem]]:
    """Runs by row id, in any order."""
    rows = db.execute(
        f"SELECT rowid, {_ITEM} FROM run WHERE rowid IN (SELECT value FROM json_each(?))",
        (str(root), msgspec.json.encode(list(row_ids)).decode()),
    )
    for row_id, *item in rows:
        yield cast(int, row_id), RunListItem(*item)  # type: ignore[arg-type]  # the columns are those of the struct


def rows_in_list_order(db: apsw.Connection) -> Iterator[int]:
    """Row ids of the listed runs, in list order."""
    return (cast(int, row[0]) for row in db.execute(f"SELECT rowid FROM run WHERE listed ORDER BY {LIST_ORDER}"))


def run_detail(db: apsw.Connection, root: Path, key: str) -> RunDetail:
    """What is known of a run. RunNotFound if it is not listed (any more)."""
    rows = db.execute(f"SELECT {_ITEM} FROM run WHERE key = ? AND listed", (str(root), key)).fetchall()
    if not rows:
        raise RunNotFound(key.rpartition("/")[2])
    item = RunListItem(*rows[0])  # type: ignore[arg-type]  # the columns of the struct
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
        source=item.source,
    )


def deleted_runs(db: apsw.Connection, root: Path) -> list[DeletedRun]:
    """The runs in the recycle bin, in list order."""
    rows = db.execute(
        "SELECT run_id, project, name, created, ifnull(deleted_at, 0), delete_reason, original_status, ? || '/' || key"
        f" FROM run WHERE NOT listed ORDER BY {LIST_ORDER}",
        (str(root),),
    )
    return [DeletedRun(*row) for row in rows]  # type: ignore[arg-type]  # the columns of the struct


def projects(db: apsw.Connection) -> list[str]:
    """The projects of listed runs, by code point."""
    rows = db.execute("SELECT DISTINCT project FROM run_count WHERE listed AND project <> '' ORDER BY project")
    return [str(project) for (project,) in rows]


def names_in(db: apsw.Connection, project: str) -> list[str]:
    """The names of listed runs in a project, by code point."""
    rows = db.execute(
        "SELECT DISTINCT name FROM run WHERE listed AND project = ? AND name IS NOT NULL ORDER BY name", (project,)
    )
    return [str(name) for (name,) in rows]


def runs_of_name(db: apsw.Connection, root: Path, project: str, name: str) -> list[RunListItem]:
    """The listed runs of a name in a project, in list order."""
    rows = db.execute(
        f"SELECT {_ITEM} FROM run WHERE listed AND project = ? AND name = ? ORDER BY {LIST_ORDER}",
        (str(root), project, name),
    )
    return [RunListItem(*row) for row in rows]  # type: ignore[arg-type]  # the columns of the struct


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
