"""Which runs there are, and what lists show of them.

| table       | kind   | content                                                                       |
|-------------|--------|-------------------------------------------------------------------------------|
| `run`       | merged | one row per run key; `listed` = exists and not in the recycle bin             |
| `run_count` | merged | how many rows of `run` there are by (listed, project, status)                 |
| `run_named` | view   | the run that an id means: one row (run_id, key, listed) per id                |
| `activity`  | owned  | per run stream: time of the last event, number of events                      |

Other plugins query these tables. *List order* is by project and name (case-folded), newest first, legacy runs last. Of
several runs with one id, the id means the first in list order that is not in the recycle bin, else the first.

In `run`, `*_fold` is the case-folded text that orders and searches use; a run without project is counted under the empty
one, which no run can have.

Counters: `runs` moves when what `GET /api/runs` shows of any run changes, `runs_removed` when a row disappears.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, cast

import apsw
import msgspec

from runicorn.plugin import (
    ARTIFACTS_CREATED_FILE,
    ARTIFACTS_USED_FILE,
    DELETED_FILE,
    META_FILE,
    RUNNING,
    STATUS_FILE,
    SUMMARY_FILE,
    Batch,
    Claim,
    FoldedProjection,
    Part,
    Parts,
    RunCreated,
    RunFinished,
    RunObserved,
    RunSummarized,
    StreamKind,
    Tables,
    claim,
    dump_json,
    is_run_key,
    latest,
    number,
    parse_json,
    run_at,
)
from runicorn_runs.events import RunLost, RunVanished
from runicorn_runs.facts import (
    DIRECTORY,
    ArtifactList,
    Best,
    Deletion,
    Meta,
    RunStatus,
)

LIST_ORDER = "is_legacy, project_fold, name_fold, created DESC, run_id DESC, key"
"""List order of rows of `run`, for `ORDER BY`."""


class RunPart(Part, omit_defaults=True):
    """What one stream says about one run."""

    is_own_stream: bool = False
    """True in the part of the run's own stream: the run exists as long as this stream does."""
    present: Claim[bool] | None = None
    directory: Claim[float | None] | None = None
    """Modification time of the directory, for runs without `created_at`."""
    meta: Claim[Meta] | None = None
    status: Claim[RunStatus] | None = None
    summary: Claim[bytes] | None = None
    """As JSON text: a summary may hold integers of any size, and NaN."""
    deleted: Claim[Deletion | None] | None = None
    created: Claim[ArtifactList] | None = None
    used: Claim[ArtifactList] | None = None


class RunFacts(msgspec.Struct, frozen=True):
    """What all streams together say about one run. `*_ts`: since when, for comparing with files."""

    exists: bool
    directory: Claim[float | None] | None
    meta: Claim[Meta] | None
    status: Claim[RunStatus] | None
    summary: Claim[bytes] | None
    deleted: Claim[Deletion | None] | None
    created: Claim[ArtifactList] | None
    used: Claim[ArtifactList] | None
    present: Claim[bool] | None


def merged(parts: Sequence[tuple[str, RunPart]]) -> RunFacts:
    """The facts of a run: for every field the claim with the greatest (time, stream name)."""
    present = latest((stream, part.present) for stream, part in parts)
    return RunFacts(
        exists=any(part.is_own_stream for _, part in parts) if present is None else present.value,
        present=present,
        directory=latest((stream, part.directory) for stream, part in parts),
        meta=latest((stream, part.meta) for stream, part in parts),
        status=latest((stream, part.status) for stream, part in parts),
        summary=latest((stream, part.summary) for stream, part in parts),
        deleted=latest((stream, part.deleted) for stream, part in parts),
        created=latest((stream, part.created) for stream, part in parts),
        used=latest((stream, part.used) for stream, part in parts),
    )


def facts_of(db: apsw.Connection, key: str) -> RunFacts | None:
    """What the read model knows of a run, from its parts; None if no stream speaks of it."""
    rows = db.execute(
        "SELECT s.name, p.state FROM run_list_part p JOIN stream s ON s.id = p.stream_id WHERE p.entity = ?", (key,)
    ).fetchall()
    parts = [(str(name), _decode_part(cast(bytes, state))) for name, state in rows]
    return merged(parts) if parts else None


_decode_part = msgspec.msgpack.Decoder(RunPart).decode


class RunList(FoldedProjection[RunPart]):
    """See the module's docstring."""

    name = "run_list"
    version = 4
    streams = frozenset[StreamKind]({"run", "store"})
    part_type = RunPart
    reading_indexes = frozenset(
        {
            "run_list_part_stream",
            "run_order",
            "run_by_id",
            "run_newest",
            "run_newest_of_project",
            "run_newest_of_status",
            "run_newest_of_both",
            "run_changed",
            "activity_of_run",
        }
    )
    tables_schema: ClassVar[str] = f"""
        CREATE TABLE run(
            key TEXT NOT NULL UNIQUE, run_id TEXT NOT NULL, project TEXT, name TEXT,
            project_fold TEXT, name_fold TEXT, run_id_fold TEXT NOT NULL, is_legacy INTEGER NOT NULL,
            created REAL, status TEXT NOT NULL, started REAL, ended REAL, exit_reason TEXT, pid INTEGER,
            best_value REAL, best_name TEXT, best_step INTEGER, best_mode TEXT,
            artifacts_created INTEGER NOT NULL, artifacts_used INTEGER NOT NULL,
            deleted_at REAL, delete_reason TEXT, original_status TEXT,
            listed INTEGER NOT NULL, changed INTEGER NOT NULL, hostname TEXT,
            meta BLOB NOT NULL, summary BLOB NOT NULL);  -- the wide ones last: they may overflow the page
        CREATE INDEX run_order ON run(  -- holds all that searches look at
            {LIST_ORDER}, run_id_fold, listed) WHERE listed;
        CREATE INDEX run_by_id ON run(run_id);
        CREATE INDEX run_newest ON run(created DESC, run_id_fold DESC) WHERE listed;
        CREATE INDEX run_newest_of_project ON run(project, created DESC, run_id_fold DESC) WHERE listed;
        CREATE INDEX run_newest_of_status ON run(status, created DESC, run_id_fold DESC) WHERE listed;
        CREATE INDEX run_newest_of_both ON run(project, status, created DESC, run_id_fold DESC) WHERE listed;
        CREATE INDEX run_changed ON run(changed);
        CREATE VIEW run_named AS
            SELECT run_id, key, listed FROM (
                SELECT run_id, key, listed, row_number() OVER (
                    PARTITION BY run_id ORDER BY listed DESC, {LIST_ORDER}) AS place FROM run)
            WHERE place = 1;
        CREATE TABLE run_count(
            listed INTEGER NOT NULL, project TEXT NOT NULL, status TEXT NOT NULL, runs INTEGER NOT NULL,
            PRIMARY KEY(listed, project, status)) WITHOUT ROWID;
        CREATE TABLE activity(
            stream_id INTEGER PRIMARY KEY, key TEXT NOT NULL, last_ts REAL, events INTEGER NOT NULL);
        CREATE INDEX activity_of_run ON activity(key);
    """

    def fold(self, parts: Parts[RunPart], batch: Batch) -> None:
        """Claims of the run's own stream, and of the store stream about any run."""
        if batch.stream.kind == "run":
            _fold_own(parts, batch)
        else:
            _fold_store(parts, batch)

    def apply(self, batch: Batch, tables: Tables) -> None:
        """Fold and merge; the activity of a run stream is a row of its own, so that metrics do not touch the list."""
        super().apply(batch, tables)
        if batch.stream.kind == "run" and batch.events:
            times = [event.ts for event in batch.events if event.ts == event.ts]
            tables.execute(
                "INSERT INTO activity(stream_id, key, last_ts, events) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " last_ts = max(coalesce(last_ts, excluded.last_ts), coalesce(excluded.last_ts, last_ts)),"
                " events = events + excluded.events",
                (batch.stream_id, batch.stream.name, max(times, default=None), len(batch.events)),
            )

    def forget(self, stream_id: int, tables: Tables) -> None:
        """Undo the stream's parts and its activity."""
        super().forget(stream_id, tables)
        tables.execute("DELETE FROM activity WHERE stream_id = ?", (stream_id,))

    def merge(self, entity: str, parts: Sequence[tuple[str, RunPart]], tables: Tables) -> None:
        """Write the run's row if what it shows has changed."""
        facts = merged(parts)
        if not facts.exists:
            gone = tables.execute(f"DELETE FROM run WHERE key = ? RETURNING {_COLUMNS}", (entity,)).fetchall()
            if gone:
                _count(tables, gone[0], None)
                tables.touch("runs")
                tables.touch("runs_removed")
            return
        row = _row(entity, facts)
        before = tables.execute(f"SELECT {_COLUMNS} FROM run WHERE key = ?", (entity,)).fetchall()
        if not before:
            _count(tables, None, row)
            marks = ", ".join("?" * (len(row) + 1))
            tables.execute(f"INSERT INTO run({_COLUMNS}, changed) VALUES ({marks})", (*row, tables.touch("runs")))
        elif before[0] != row:
            _count(tables, before[0], row)
            # Only what differs: an index is written if one of its columns is set, even to the same value.
            changes = {name: new for name, old, new in zip(_NAMES, before[0], row, strict=True) if old != new}
            changes["changed"] = tables.touch("runs")
            values = ", ".join(f"{name} = ?" for name in changes)
            tables.execute(f"UPDATE run SET {values} WHERE key = ?", (*changes.values(), entity))

    def active_streams(self, tables: Tables) -> Iterable[str]:
        """The streams of running runs, the newest first."""
        rows = tables.execute("SELECT key FROM run WHERE listed AND status = 'running' ORDER BY created DESC")
        return [str(row[0]) for row in rows]


_COLUMNS = (
    "key, run_id, project, name, project_fold, name_fold, run_id_fold, is_legacy, created, status, started, ended, exit_reason,"
    " pid, best_value, best_name, best_step, best_mode, artifacts_created, artifacts_used, hostname, meta, summary,"
    " deleted_at, delete_reason, original_status, listed"
)
_NAMES = _COLUMNS.replace(" ", "").split(",")
_LISTED, _PROJECT, _STATUS = (_NAMES.index(name) for name in ("listed", "project", "status"))


def _count(tables: Tables, before: Sequence[Any] | None, after: Sequence[Any] | None) -> None:
    """Move a run from one line of `run_count` to another."""
    old, new = (None if row is None else (row[_LISTED], row[_PROJECT] or "", row[_STATUS]) for row in (before, after))
    if old == new:
        return
    if old is not None:
        tables.execute("UPDATE run_count SET runs = runs - 1 WHERE (listed, project, status) = (?, ?, ?)", old)
        tables.execute("DELETE FROM run_count WHERE (listed, project, status) = (?, ?, ?) AND runs = 0", old)
    if new is not None:
        tables.execute("INSERT INTO run_count VALUES (?, ?, ?, 1) ON CONFLICT DO UPDATE SET runs = runs + 1", new)


def _fold_own(parts: Parts[RunPart], batch: Batch) -> None:
    if batch.start == 0:  # whatever the first line says, and however the stream is cut into batches
        parts[batch.stream.name].is_own_stream = True
    for event, payload in batch.payloads(RunCreated, RunFinished, RunSummarized):
        part = parts[batch.stream.name]
        match payload:
            case RunCreated():
                meta = Meta.read(msgspec.to_builtins(payload))
                part.meta = claim(event.ts, meta, part.meta)
                part.status = claim(event.ts, RunStatus(RUNNING, started_at=number(payload.created_at)), part.status)
            case RunFinished():
                started = None if part.status is None else part.status.value.started_at
                ended = RunStatus(payload.status, started, number(payload.ended_at), payload.exit_reason)
                part.status = claim(event.ts, ended, part.status)
            case RunSummarized():
                before = {} if part.summary is None else parse_json(part.summary.value)
                part.summary = claim(event.ts, dump_json({**before, **payload.update}), part.summary)


def _fold_store(parts: Parts[RunPart], batch: Batch) -> None:
    for event, payload in batch.payloads(RunObserved, RunVanished, RunLost):
        if not is_run_key(payload.run):
            continue
        part = parts[payload.run]
        match payload:
            case RunObserved():
                _fold_observed(part, event.ts, payload)
            case RunVanished():
                part.present = claim(event.ts, False, part.present)
            case RunLost():
                started = None if part.status is None else part.status.value.started_at
                ended = RunStatus(payload.status, started, number(payload.ended_at), payload.exit_reason)
                part.status = claim(event.ts, ended, part.status)


def _fold_observed(part: RunPart, ts: float, observed: RunObserved) -> None:
    content = observed.content or {}
    match observed.file:
        case str(file) if file == DIRECTORY:
            part.present = claim(ts, True, part.present)
            part.directory = claim(ts, number(content.get("mtime")), part.directory)
        case str(file) if file == META_FILE:
            part.meta = claim(ts, Meta.read(content), part.meta)
        case str(file) if file == STATUS_FILE:
            part.status = claim(ts, RunStatus.read(content), part.status)
        case str(file) if file == SUMMARY_FILE:
            part.summary = claim(ts, dump_json(content), part.summary)
        case str(file) if file == DELETED_FILE:
            marker = None if observed.content is None else Deletion.read(content, ts)
            part.deleted = claim(ts, marker, part.deleted)
        case str(file) if file == ARTIFACTS_CREATED_FILE:
            part.created = claim(ts, ArtifactList.read(content), part.created)
        case str(file) if file == ARTIFACTS_USED_FILE:
            part.used = claim(ts, ArtifactList.read(content), part.used)
        case _:
            pass


def _row(key: str, facts: RunFacts) -> tuple[Any, ...]:
    """The columns of `_COLUMNS`."""
    run = run_at(key)
    meta = Meta() if facts.meta is None else facts.meta.value
    status = RunStatus() if facts.status is None else facts.status.value
    summary = b"{}" if facts.summary is None else facts.summary.value
    best = Best.read(parse_json(summary))
    deletion = None if facts.deleted is None else facts.deleted.value
    project, name = run.names(meta.project, meta.name)
    directory = None if facts.directory is None else facts.directory.value
    return (
        key,
        run.run_id,
        project,
        name,
        (project or "").casefold(),
        (name or "").casefold(),
        run.run_id.casefold(),
        int(run.project is None),
        meta.created_at if meta.created_at is not None else directory,
        status.status,
        status.started_at,
        status.ended_at,
        status.exit_reason,
        meta.pid,
        best.value,
        best.name,
        best.step,
        best.mode,
        0 if facts.created is None else facts.created.value.count,
        0 if facts.used is None else facts.used.value.count,
        meta.hostname,
        msgspec.msgpack.encode(meta),
        summary,
        None if deletion is None else deletion.at,
        None if deletion is None else deletion.reason,
        None if deletion is None else deletion.original_status,
        int(deletion is None),
    )
