"""Which runs there are, and what lists show of them.

| table       | kind   | content                                                                       |
|-------------|--------|-------------------------------------------------------------------------------|
| `run`       | merged | one row per run key; `listed` = exists and not in the recycle bin             |
| `run_count` | merged | how many rows of `run` there are by (listed, project, status)                 |
| `run_named` | view   | the run that an id means: one row (run_id, key, listed) per id                |
| `run_tag`   | merged | one row (tag, key) per tag of a run, runs in the recycle bin included         |
| `activity`  | owned  | per run stream (its name is the run's key): time of the last event, number of events |

Other plugins query these tables. *List order* (`LIST_ORDER`) is by project and name (case-folded), newest first, legacy
runs last; behind all of them come runs of other machines that are not in their place (`is_foreign`). Of several runs with
one id, the id means the first in list order that is not in the recycle bin, else the first.

Columns of `run` that do not say it themselves:

| column                                | content                                                                      |
|---------------------------------------|------------------------------------------------------------------------------|
| `*_fold`                              | the case-folded text that orders and searches use                            |
| `source`                              | of a run of another machine: `user@host:port`; else null                     |
| `created`, `started`, `ended`         | Unix seconds, null where unknown                                             |
| `deleted_at`, `delete_reason`, `original_status` | of the recycle bin; null unless the run is in it (`listed` = 0)   |
| `tags`                                | JSON array of texts, in the order in which they were added; `[]`             |
| `description`                         | text or null                                                                 |
| `archived`, `pinned`                  | 0 or 1                                                                       |
| `annotated`                           | when tags, description, archived or pinned changed last; null if never       |
| `label`                               | `project`, `name`, `created_at` as `.experiments_metadata.json` shows them: JSON |
| `config`                              | parameters of the training: JSON object, `{}` if none were given             |
| `meta`, `summary`                     | `Meta` as msgpack; the summary as JSON                                       |

JSON may hold NaN and integers of any size: SQLite's functions read it, strict decoders do not. A run without project is
counted under the empty one, which no run can have. A tag filter is an intersection of `SELECT key FROM run_tag WHERE
tag = ?`; facets join `run_tag` with `run` for `listed`.

Counters: `runs` moves when a row of `run` changes, `runs_removed` when one disappears.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, cast

import msgspec

from runicorn.plugin import (
    LIST_ORDER,
    Batch,
    Event,
    FoldedPreparation,
    FoldedProjection,
    Meaning,
    Parts,
    Stream,
    StreamKind,
    Tables,
    dump_json,
    parse_json,
    run_at,
)
from runicorn_runs.attributes import parsed
from runicorn_runs.facts import Best, Meta, RunStatus
from runicorn_runs.projections.run_claims import RunFacts, RunPart, fold_own, fold_store, merged
from runicorn_runs.projections.single_run import Row, rows_to_write, single_run

Activity = tuple[float | None, int]
"""Time of the last event, number of events."""


class RunList(FoldedProjection[RunPart]):
    """See the module's docstring."""

    name = "run_list"
    version = 9
    streams = frozenset[StreamKind]({"run", "store"})
    part_type = RunPart
    is_merged = "EXISTS (SELECT 1 FROM run WHERE key = s.name)"
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
            "run_tag_of_run",
        }
    )
    tables_schema: ClassVar[str] = f"""
        CREATE TABLE run(
            id INTEGER PRIMARY KEY AUTOINCREMENT,  -- the narrow name of a run in other tables of this file: never used again
            key TEXT NOT NULL UNIQUE, run_id TEXT NOT NULL, project TEXT, name TEXT,
            project_fold TEXT, name_fold TEXT, run_id_fold TEXT NOT NULL,
            is_foreign INTEGER NOT NULL, is_legacy INTEGER NOT NULL,
            created REAL, status TEXT NOT NULL, started REAL, ended REAL, exit_reason TEXT, pid INTEGER,
            best_value REAL, best_name TEXT, best_step INTEGER, best_mode TEXT,
            artifacts_created INTEGER NOT NULL, artifacts_used INTEGER NOT NULL,
            deleted_at REAL, delete_reason TEXT, original_status TEXT,
            listed INTEGER NOT NULL, changed INTEGER NOT NULL, archived INTEGER NOT NULL, pinned INTEGER NOT NULL,
            annotated REAL, tags TEXT NOT NULL, hostname TEXT, source TEXT, label TEXT, description TEXT,
            meta BLOB NOT NULL, config TEXT NOT NULL, summary BLOB NOT NULL);  -- the wide ones last: they may overflow the page
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
        CREATE TABLE run_tag(tag TEXT NOT NULL, key TEXT NOT NULL, PRIMARY KEY(tag, key)) WITHOUT ROWID;
        CREATE INDEX run_tag_of_run ON run_tag(key);
        CREATE TABLE activity(stream_id INTEGER PRIMARY KEY, last_ts REAL, events INTEGER NOT NULL);
    """

    @property
    def meanings(self) -> Mapping[str, Meaning | None]:
        """A run is its key; when its row changed last is for readers of this file alone."""
        return {"run": Meaning(f"SELECT {_COLUMNS} FROM run ORDER BY key")}

    def fold(self, parts: Parts[RunPart], batch: Batch) -> None:
        """Claims of the run's own stream, and of the store stream about any run."""
        if batch.stream.kind == "run":
            fold_own(parts, batch)
        else:
            fold_store(parts, batch)

    def apply(self, batch: Batch, tables: Tables) -> None:
        """Fold and merge; the activity of a run stream is a row of its own, so that metrics do not touch the list."""
        super().apply(batch, tables)
        if batch.stream.kind == "run" and batch.events:
            _add_activity(batch.stream_id, _activity(batch.events), tables)

    def preparation(self, stream: Stream) -> RunPreparation:
        """See `FoldedProjection`."""
        return RunPreparation(self, stream)

    def apply_prepared(self, stream: Stream, stream_id: int, prepared: object, tables: Tables) -> None:
        """Store the parts of a stream, its activity, and the row of its run if nobody else speaks of that."""
        parts, activity, row = cast("tuple[list[tuple[str, bytes]], Activity, Row | None]", prepared)
        super().apply_prepared(stream, stream_id, parts, tables)
        if stream.kind == "run" and activity[1]:
            tables.collect(_ADD_ACTIVITY, (stream_id, *activity))
        if row is not None and tables.postpones_merges and not self.is_of_another(stream.name, tables):
            written = _written(tables)
            written.counts[_line_of(row)] += 1
            run = rows_to_write(tables)[stream.name] = written.next_id(tables)
            tables.collect(_INSERT, (run, *row, tables.touch("runs")))

    def before_commit(self, tables: Tables) -> None:
        """Count the runs whose rows were written as they were prepared."""
        written = _written(tables)
        for line, runs in written.counts.items():
            tables.collect(_ADD_TO_COUNT, (*line, runs))
        written.forget()
        rows_to_write(tables).clear()

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
                _store_tags(tables, entity, gone[0], None)
                tables.touch("runs")
                tables.touch("runs_removed")
            return
        row = _row(entity, facts, _summary(facts))
        before = tables.execute(_SELECT, (entity,)).fetchall()
        if not before:
            _count(tables, None, row)
            _store_tags(tables, entity, None, row)
            tables.execute(_INSERT, (None, *row, tables.touch("runs")))
        elif before[0] != row:
            _count(tables, before[0], row)
            _store_tags(tables, entity, before[0], row)
            # Only what differs: an index is written if one of its columns is set, even to the same value.
            changes = {name: new for name, old, new in zip(COLUMNS, before[0], row, strict=True) if old != new}
            changes["changed"] = tables.touch("runs")
            values = ", ".join(f"{name} = ?" for name in changes)
            tables.execute(f"UPDATE run SET {values} WHERE key = ?", (*changes.values(), entity))

    def active_streams(self, tables: Tables) -> Iterable[str]:
        """The streams of running runs, the newest first."""
        rows = tables.execute("SELECT key FROM run WHERE listed AND status = 'running' ORDER BY created DESC")
        return [str(row[0]) for row in rows]


class RunPreparation(FoldedPreparation[RunPart]):
    """The parts of one stream, its activity, and the row of its run if no other stream speaks of that."""

    def __init__(self, projection: RunList, stream: Stream) -> None:
        super().__init__(projection)
        self._stream = stream
        self._activity: Activity = None, 0

    def add(self, batch: Batch) -> None:
        """Fold the next events."""
        super().add(batch)
        last, count = _activity(batch.events)
        before, earlier = self._activity
        self._activity = max((ts for ts in (before, last) if ts is not None), default=None), earlier + count

    def take(self, *, is_end: bool) -> Any:
        """All of it, at the end."""
        parts = super().take(is_end=is_end)
        if parts is None:
            return None
        row = None
        if self._stream.kind == "run" and parts:
            key = self._stream.name
            facts = merged([(key, self.parts[key])])
            summary = _summary(facts)
            row = _row(key, facts, summary)
            single = single_run(self._stream)
            single.row, single.summary, single.last_ts = row, summary, self._activity[0]
        return parts, self._activity, row


def _activity(events: Sequence[Event]) -> Activity:
    return max([ts for event in events if (ts := event.ts) == ts], default=None), len(events)


def _add_activity(stream_id: int, activity: Activity, tables: Tables) -> None:
    tables.execute(_ADD_ACTIVITY, (stream_id, *activity))


_ADD_ACTIVITY = (
    "INSERT INTO activity(stream_id, last_ts, events) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET"
    " last_ts = max(coalesce(last_ts, excluded.last_ts), coalesce(excluded.last_ts, last_ts)),"
    " events = events + excluded.events"
)
_COLUMNS = (
    "key, run_id, project, name, project_fold, name_fold, run_id_fold, is_foreign, is_legacy, created, status, started, ended,"
    " exit_reason, pid, best_value, best_name, best_step, best_mode, artifacts_created, artifacts_used, hostname, meta,"
    " summary, deleted_at, delete_reason, original_status, listed, config, tags, description, archived, pinned, annotated,"
    " label, source"
)
COLUMNS = tuple(_COLUMNS.replace(" ", "").split(","))
"""Of a `Row`."""
_SELECT = f"SELECT {_COLUMNS} FROM run WHERE key = ?"
_INSERT = f"INSERT INTO run(id, {_COLUMNS}, changed) VALUES ({', '.join('?' * (len(COLUMNS) + 2))})"
_LISTED, _PROJECT, _STATUS, _TAGS = (COLUMNS.index(name) for name in ("listed", "project", "status", "tags"))
_NO_TAGS = "[]"


_ADD_TO_COUNT = "INSERT INTO run_count VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET runs = runs + excluded.runs"


def _line_of(row: Sequence[Any]) -> tuple[Any, ...]:
    """The key of the line of `run_count` that counts a run."""
    return row[_LISTED], row[_PROJECT] or "", row[_STATUS]


class _Written:
    """The runs whose rows this transaction has collected."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[Any, ...]] = Counter()
        """By line of `run_count`."""
        self._last_id: int | None = None

    def next_id(self, tables: Tables) -> int:
        """The id of one more."""
        if self._last_id is None:
            rows = tables.execute("SELECT seq FROM sqlite_sequence WHERE name = 'run'").fetchall()
            self._last_id = cast(int, rows[0][0]) if rows else 0
        self._last_id += 1
        return self._last_id

    def forget(self) -> None:
        """They are written."""
        self.counts.clear()
        self._last_id = None


def _written(tables: Tables) -> _Written:
    written = tables.memory.get(RunList.name)
    if written is None:
        written = tables.memory[RunList.name] = _Written()
    return written


def _count(tables: Tables, before: Sequence[Any] | None, after: Sequence[Any] | None) -> None:
    """Move a run from one line of `run_count` to another."""
    old, new = (None if row is None else _line_of(row) for row in (before, after))
    if old == new:
        return
    if old is not None:
        tables.execute("UPDATE run_count SET runs = runs - 1 WHERE (listed, project, status) = (?, ?, ?)", old)
        tables.execute("DELETE FROM run_count WHERE (listed, project, status) = (?, ?, ?) AND runs = 0", old)
    if new is not None:
        tables.execute(_ADD_TO_COUNT, (*new, 1))


def _store_tags(tables: Tables, key: str, before: Sequence[Any] | None, after: Sequence[Any] | None) -> None:
    """Write the rows of `run_tag` in which the tags of a run differ."""
    old, new = (_NO_TAGS if row is None else row[_TAGS] for row in (before, after))
    if old == new:
        return
    old_tags, new_tags = frozenset(parse_json(old.encode())), frozenset(parse_json(new.encode()))
    tables.executemany("DELETE FROM run_tag WHERE tag = ? AND key = ?", ((tag, key) for tag in old_tags - new_tags))
    tables.executemany("INSERT INTO run_tag(tag, key) VALUES (?, ?)", ((tag, key) for tag in new_tags - old_tags))


def _summary(facts: RunFacts) -> Mapping[str, Any]:
    return {} if facts.summary is None else parsed(facts.summary.value)


def _row(key: str, facts: RunFacts, summary: Mapping[str, Any]) -> Row:
    """The columns of `_COLUMNS`."""
    run = run_at(key)
    meta = Meta() if facts.meta is None else facts.meta.value
    status = RunStatus() if facts.status is None else facts.status.value
    best = Best.read(summary)
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
        int(run.is_foreign),
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
        b"{}" if facts.summary is None else facts.summary.value,
        None if deletion is None else deletion.at,
        None if deletion is None else deletion.reason,
        None if deletion is None else deletion.original_status,
        int(deletion is None),
        "{}" if facts.config is None else facts.config.value.decode(),
        _NO_TAGS if facts.tags is None else dump_json(facts.tags.value).decode(),
        None if facts.description is None else facts.description.value,
        int(facts.archived is not None and facts.archived.value),
        int(facts.pinned is not None and facts.pinned.value),
        None if facts.annotated is None else facts.annotated.value,
        None if facts.label is None or facts.label.value is None else msgspec.json.encode(facts.label.value).decode(),
        None if facts.source is None else facts.source.value,
    )
