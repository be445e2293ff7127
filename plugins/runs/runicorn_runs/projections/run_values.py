"""What runs are filtered and sorted by: one narrow row per run, and one row per value.

| table           | kind   | content                                                                               |
|-----------------|--------|---------------------------------------------------------------------------------------|
| `run_brief`     | merged | one row per row of `run`, under its `id`: what lists look at, without the wide columns  |
| `run_value`     | merged | by (key, run): a value of the summary or the configuration, a number or a text        |
| `run_metric`    | merged | by (key, run): a metric over all rows merged by step                                  |
| `run_folded_description` | merged | by run: the case-folded description, unless it is ASCII                      |
| `run_values_part` | owned | totals of a stream, while a file is built and `run` has no rows yet                   |
| `run_value_key` | –      | the names of values and metrics: `source` is `s` (summary), `c` (configuration), `m`  |

Other plugins query these tables. They say the same as `run` and as the metric points, in the same transaction. A range of
`run_value` or `run_metric` is one name in all runs, so a filter reads what it is about and nothing else.

In `run_brief`, `*_fold` of id, project and name is null where the case-folded text is the same as the text; elsewhere `fold`
and `*_fold` are null where SQLite's `lower` says the same, as it does of ASCII: `ifnull(fold, lower(txt))`. `updated` is
when an event, the status, a deletion or an annotation last changed the run; `metric_count`, `steps`, `first_step` and
`last_step` are of merged rows that have a number in any metric (a step beyond 64 bits is text); `value_keys` and
`metric_keys` are JSON lists of what there is of the run in the other two tables. `run_metric` holds finite values;
`diverged` is the step at which the metric ended with NaN or an infinity.

The events of a batch are folded in memory; rows are written once per transaction. Triggers note which rows of `run`
changed, whatever changed them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple, cast

import msgspec

from runicorn.columns import StoredSeries
from runicorn.plugin import Batch, Meaning, Stream, StreamKind, Tables
from runicorn_runs.attributes import Attribute, attributes, attributes_of
from runicorn_runs.metric_statistics import MetricStatistics, MetricTotal, RunTotals
from runicorn_runs.projections.batch_frame import metric_frame
from runicorn_runs.projections.run_list import COLUMNS
from runicorn_runs.projections.single_run import rows_to_write, single_run

SUMMARY, CONFIG, METRIC = "s", "c", "m"

_AT_ONCE = 2000  # runs that are written together
_KEPT_RUNS = 2000  # states of streams that may grow, a few KB each; another one is read from its points again

_BRIEF = (
    "run, listed, run_id, run_id_fold, project, project_fold, name, name_fold, status, created, started, ended, deleted_at,"
    " best_value, best_step, best_name, best_mode, updated, metric_count, steps, first_step, last_step, value_keys,"
    " metric_keys, status_fold, best_name_fold"
)
_TOUCHED = (
    "SELECT t.run, r.key, r.listed, r.run_id, r.run_id_fold, r.project, r.project_fold, r.name, r.name_fold, r.status,"
    " r.created, r.started, r.ended, r.deleted_at, r.best_value, r.best_step, r.best_name, r.best_mode,"
    " nullif(max(ifnull(r.created, 0), ifnull(r.started, 0), ifnull(r.ended, 0), ifnull(r.deleted_at, 0),"
    " ifnull(r.annotated, 0), ifnull(a.last_ts, 0)), 0),"
    " r.summary, r.config, r.description, s.id, p.totals, b.metric_count, b.steps, b.first_step, b.last_step, b.value_keys,"
    " b.metric_keys"
    " FROM run_touched AS t LEFT JOIN run AS r ON r.id = t.run LEFT JOIN stream AS s ON s.name = r.key"
    " LEFT JOIN activity AS a ON a.stream_id = s.id LEFT JOIN run_brief AS b ON b.run = t.run"
    " LEFT JOIN run_values_part AS p ON p.stream_id = s.id WHERE t.run > ? ORDER BY t.run LIMIT ?"
)
_NAMED = "FROM {} AS v LEFT JOIN run_value_key AS k ON k.id = v.key LEFT JOIN run AS r ON r.id = v.run ORDER BY 1, 2, 3"
_NAMES_OF = (
    "(SELECT json_group_array(name) FROM (SELECT k.source || ' ' || k.name AS name FROM json_each(b.{}) AS e"
    " LEFT JOIN run_value_key AS k ON k.id = e.value ORDER BY 1))"
)
_MEANINGS: Mapping[str, Meaning | None] = {
    "run_brief": Meaning(
        "SELECT r.key, b.listed, b.run_id, b.run_id_fold, b.project, b.project_fold, b.name, b.name_fold, b.status,"
        " b.created, b.started, b.ended, b.deleted_at, b.best_value, b.best_step, b.best_name, b.best_mode, b.updated,"
        " b.metric_count, b.steps, b.first_step, b.last_step, b.status_fold,"
        f' b.best_name_fold, {_NAMES_OF.format("value_keys")} AS "values", {_NAMES_OF.format("metric_keys")} AS metrics'
        " FROM run_brief AS b LEFT JOIN run AS r ON r.id = b.run ORDER BY r.key"
    ),
    "run_value": Meaning(
        f"SELECT k.source, k.name, r.key AS run, v.num, v.txt, v.fold {_NAMED.format('run_value')}", 3
    ),
    "run_metric": Meaning(
        "SELECT k.source, k.name, r.key AS run, v.cells, v.low, v.high, v.last, v.last_step, v.diverged"
        f" {_NAMED.format('run_metric')}",
        3,
    ),
    "run_folded_description": Meaning(
        "SELECT r.key AS run, d.fold FROM run_folded_description AS d LEFT JOIN run AS r ON r.id = d.run ORDER BY 1, 2"
    ),
    "run_value_key": None,  # names that no row has any more may stay; the others are in the rows above
}

_PUT_PART = "INSERT OR REPLACE INTO run_values_part(stream_id, totals) VALUES (?, ?)"
_PUT_BRIEF = f"INSERT OR REPLACE INTO run_brief({_BRIEF}) VALUES ({', '.join('?' * 26)})"
_SET_METRICS = (
    "UPDATE run_brief SET updated = nullif(max(ifnull(updated, 0), ifnull(?, 0)), 0), metric_count = ?, steps = ?,"
    " first_step = ?, last_step = ?, metric_keys = ? WHERE run = ?"
)
_SET_UPDATED = "UPDATE run_brief SET updated = nullif(max(ifnull(updated, 0), ifnull(?, 0)), 0) WHERE run = ?"
_PUT_VALUE = "INSERT OR REPLACE INTO run_value(key, run, num, txt, fold) VALUES (?, ?, ?, ?, ?)"
_PUT_DESCRIPTION = "INSERT OR REPLACE INTO run_folded_description(run, fold) VALUES (?, ?)"
_DROP_DESCRIPTION = "DELETE FROM run_folded_description WHERE run = ?"
_PUT_METRIC = (
    "INSERT OR REPLACE INTO run_metric(key, run, cells, low, high, last, last_step, diverged)"
    f" VALUES ({', '.join('?' * 8)})"
)
_MIN_INT64, _MAX_INT64 = -(1 << 63), (1 << 63) - 1

_encode_keys = msgspec.json.Encoder().encode
_decode_keys = msgspec.json.Decoder(list[int]).decode
_encode_totals = msgspec.msgpack.Encoder().encode
_decode_totals = msgspec.msgpack.Decoder(RunTotals).decode


class _Followed:
    """What is known of a run's own stream."""

    __slots__ = ("end", "state", "stream_id", "written")

    def __init__(self, stream_id: int, end: int, state: MetricStatistics) -> None:
        self.stream_id = stream_id
        self.end = end
        self.state = state
        self.written: dict[str, MetricTotal] | None = None
        """What `run_metric` has of it; None: unknown, `run_brief` names its rows."""


class _Memory:
    """What this projection remembers of one file."""

    def __init__(self) -> None:
        self.keys: dict[tuple[str, str], int] = {}
        """Ids of names."""
        self.streams: OrderedDict[str, _Followed] = OrderedDict()
        """By run key, the last ones that were read."""
        self.pending: dict[str, bool] = {}
        """Run keys whose streams were read in this transaction; true where metrics were among the events."""
        self.prepared: list[tuple[int, PreparedValues]] = []
        """Runs whose rows were prepared, to be written with this transaction."""


class RunValues:
    """See the module's docstring."""

    name = "run_values"
    version = 3
    streams = frozenset[StreamKind]({"run", "store"})
    schema = """
        CREATE TABLE run_brief(
            run INTEGER PRIMARY KEY, listed INTEGER NOT NULL, run_id TEXT NOT NULL, run_id_fold TEXT,
            project TEXT, project_fold TEXT, name TEXT, name_fold TEXT, status TEXT NOT NULL,
            created REAL, started REAL, ended REAL, deleted_at REAL, best_value REAL, best_step INTEGER, best_name TEXT,
            best_mode TEXT, updated REAL, metric_count INTEGER NOT NULL, steps INTEGER NOT NULL, first_step, last_step,
            value_keys TEXT NOT NULL, metric_keys TEXT NOT NULL, status_fold TEXT, best_name_fold TEXT);
        CREATE TABLE run_value_key(
            id INTEGER PRIMARY KEY, source TEXT NOT NULL, name TEXT NOT NULL, UNIQUE(source, name));
        CREATE TABLE run_value(
            key INTEGER NOT NULL, run INTEGER NOT NULL, num REAL, txt TEXT, fold TEXT,
            PRIMARY KEY(key, run)) WITHOUT ROWID;
        CREATE TABLE run_folded_description(run INTEGER PRIMARY KEY, fold TEXT NOT NULL);
        CREATE TABLE run_metric(
            key INTEGER NOT NULL, run INTEGER NOT NULL, cells INTEGER NOT NULL, low REAL, high REAL, last REAL,
            last_step, diverged, PRIMARY KEY(key, run)) WITHOUT ROWID;
        CREATE TABLE run_values_part(stream_id INTEGER PRIMARY KEY, totals BLOB NOT NULL);
        CREATE TABLE run_touched(run INTEGER PRIMARY KEY);  -- empty outside of a transaction
        CREATE TRIGGER run_inserted AFTER INSERT ON run WHEN NOT EXISTS (SELECT 1 FROM run_brief WHERE run = new.id)
            BEGIN INSERT OR IGNORE INTO run_touched VALUES (new.id); END;
        CREATE TRIGGER run_updated AFTER UPDATE ON run BEGIN INSERT OR IGNORE INTO run_touched VALUES (new.id); END;
        CREATE TRIGGER run_deleted AFTER DELETE ON run BEGIN INSERT OR IGNORE INTO run_touched VALUES (old.id); END;
        CREATE INDEX run_described ON run(description) WHERE description IS NOT NULL;
    """

    @property
    def meanings(self) -> Mapping[str, Meaning | None]:
        """Runs, values and metrics have numbers of this file."""
        return _MEANINGS

    def apply(self, batch: Batch, tables: Tables) -> None:
        """Fold the metric events of a run; what else concerns a run, triggers have noted."""
        if batch.stream.kind != "run":
            return
        memory = _memory(tables)
        key = batch.stream.name
        known = memory.streams.get(key)
        frame = metric_frame(batch)

        def stored() -> Iterable[Any]:
            return StoredSeries(tables, batch.stream_id).frames()

        if batch.start == 0:
            known = _Followed(batch.stream_id, 0, MetricStatistics())
            memory.streams[key] = known
        elif known is None or (known.stream_id, known.end) != (batch.stream_id, batch.start):
            # The points of this batch are stored already: `metric_points` comes before this projection.
            known = _Followed(batch.stream_id, batch.end, MetricStatistics.of(stored()))
            memory.streams[key] = known
            frame = None
        if frame is not None:
            known.state.add(frame, stored)
        known.end = batch.end
        memory.streams.move_to_end(key)
        memory.pending[key] = True if frame is not None or known.written is None else memory.pending.get(key, False)

    def forget(self, stream_id: int, tables: Tables) -> None:
        """A run that is still there has no metrics any more."""
        memory = _memory(tables)
        _put_part(stream_id, None, tables)
        for (name,) in tables.execute("SELECT name FROM stream WHERE id = ?", (stream_id,)).fetchall():
            key = str(name)
            memory.streams[key] = _Followed(stream_id, -1, MetricStatistics())
            memory.pending[key] = True
            tables.execute("INSERT OR IGNORE INTO run_touched SELECT id FROM run WHERE key = ?", (key,))

    def before_commit(self, tables: Tables) -> None:
        """Write the rows of all runs that changed."""
        memory = _memory(tables)
        large = [key for key in memory.pending if not memory.streams[key].state.is_small]
        if tables.postpones_merges:
            found = [memory.streams[key] for key, has_metrics in memory.pending.items() if has_metrics]
            for stream in found:
                if stream.end >= 0:
                    _put_part(stream.stream_id, _encoded(stream.state.totals()), tables)
            _write_prepared(memory, tables)
        else:
            self._write(memory, tables)
        memory.pending.clear()
        for key in large:
            del memory.streams[key]
        while len(memory.streams) > _KEPT_RUNS:
            memory.streams.popitem(last=False)

    def preparation(self, stream: Stream) -> ValuesPreparation:
        """See `runicorn.plugin.PreparesStreams`."""
        return ValuesPreparation(stream)

    def apply_prepared(self, stream: Stream, stream_id: int, prepared: object, tables: Tables) -> None:
        """Write the rows of the run, or keep the totals until it has a row. Without them they are read off the points."""
        values = cast(PreparedValues, prepared)
        run = rows_to_write(tables).get(stream.name)
        if run is None or values.shown is None:
            if values.totals is not None:
                tables.collect(_PUT_PART, (stream_id, values.totals))
        else:
            _memory(tables).prepared.append((run, values))

    def merge_all(self, tables: Tables) -> None:
        """Write the rows of all runs of a file that was built; `run_list`, which comes first, has touched them."""
        self._write(_memory(tables), tables)
        tables.execute("DELETE FROM run_values_part")

    def _write(self, memory: _Memory, tables: Tables) -> None:
        last = 0
        while touched := tables.execute(_TOUCHED, (last, _AT_ONCE)).fetchall():
            changes = _Changes(memory, tables)
            for row in touched:
                if row[1] is None:
                    changes.remove(*cast("tuple[int, str | None, str | None]", (row[0], *row[-2:])))
                else:
                    changes.put(row)
            changes.write()
            last = cast(int, touched[-1][0])
        if last:
            tables.execute("DELETE FROM run_touched")
        if memory.pending:
            changes = _Changes(memory, tables)
            for key, has_metrics in memory.pending.items():
                changes.put_metrics(key, has_metrics)
            changes.write()


class ValuesPreparation:
    """The totals of one stream, and what there is of its run, worked out away from the tables."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._state: MetricStatistics | None = MetricStatistics()

    def add(self, batch: Batch) -> None:
        """Fold the next metric events."""
        frame = metric_frame(batch)
        if frame is None or self._state is None:
            return
        try:
            self._state.add(frame, _no_points)
        except _WentBack:
            self._state = None
        else:
            self._state.shrink()

    def take(self, *, is_end: bool) -> PreparedValues | None:
        """All of it, at the end; None for a run that goes back, whose points have to be read again."""
        if not is_end:
            return None
        row, summary, last_ts = single_run(self._stream).take()
        if self._state is None:
            return None
        totals = _encoded(self._state.totals())
        if totals is None or row is None:
            return PreparedValues(totals, None, (), [])
        *facts, config = _facts_of(row)
        updated = max(*(ts or 0.0 for ts in _times_of(row)), last_ts or 0.0) or None
        values = [
            (source, name, number, txt, _folded(txt))
            for source, found in ((SUMMARY, attributes_of(summary)), (CONFIG, attributes(config)))
            for name, (number, txt) in found.items()
        ]
        return PreparedValues(totals, _shown(facts, updated), _folds(facts), values)


class PreparedValues(NamedTuple):
    """What a stream says about its run."""

    totals: bytes | None
    """None: they are to be read off the points."""
    shown: tuple[Any, ...] | None
    """What `run_brief` has behind the run's id and before the counts; None: the row of the run is not known."""
    folds: tuple[Any, ...]
    """What it has at its end."""
    values: list[tuple[str, str, float | None, str | None, str | None]]
    """Source, name, number, text and case-folded text."""


class _WentBack(Exception):
    """The points that would be needed are in another process."""


def _no_points() -> Iterable[Any]:
    raise _WentBack


class _Changes:
    """The rows that one transaction writes."""

    def __init__(self, memory: _Memory, tables: Tables) -> None:
        self._memory = memory
        self._tables = tables
        self._values: list[tuple[int, int, float | None, str | None, str | None]] = []
        self._metrics: list[tuple[Any, ...]] = []
        self._briefs: list[tuple[Any, ...]] = []

    def put(self, row: Sequence[Any]) -> None:
        """The row of a run as `_TOUCHED` reads it, and its values and metrics if it is new or they differ."""
        run, key, *facts = row[:18]
        updated, summary, config, description, stream_id, part, *counts, value_keys, metric_keys = row[18:]
        named = {(SUMMARY, name): value for name, value in attributes(summary).items()}
        named.update({(CONFIG, name): value for name, value in attributes(config).items()})
        new_keys = self._put_values(run, named, value_keys)
        self._put_description(run, description, is_new=value_keys is None)
        if part is not None:
            *counts, metric_keys = self._write_totals(run, _decode_totals(part), {})
        elif metric_keys is None or key in self._memory.pending:
            stream = self._stream_of(key, stream_id)
            if metric_keys is None:  # there are no rows, whatever was written for a run that was here before
                stream.written = {}
            *counts, metric_keys = self._put_totals(run, stream, metric_keys)
        self._briefs.append((run, *_shown(facts, updated), *counts, new_keys, metric_keys, *_folds(facts)))

    def put_prepared(self, run: int, prepared: PreparedValues) -> None:
        """All rows of a run that has none yet."""
        assert prepared.totals is not None
        assert prepared.shown is not None
        known = self._memory.keys
        keys: list[int] = []
        for source, name, number, txt, fold in prepared.values:
            key = known.get((source, name)) or self._key((source, name))
            keys.append(key)
            self._values.append((key, run, number, txt, fold))
        *counts, metric_keys = self._write_totals(run, _decode_totals(prepared.totals), {})
        value_keys = _encode_keys(sorted(keys)).decode()
        self._briefs.append((run, *prepared.shown, *counts, value_keys, metric_keys, *prepared.folds))

    def put_metrics(self, key: str, has_metrics: bool) -> None:
        """Metrics of a stream that was read, and the time of its last event."""
        stream = self._memory.streams[key]
        rows = self._tables.execute(
            "SELECT r.id, a.last_ts, b.metric_keys FROM run AS r JOIN run_brief AS b ON b.run = r.id"
            " LEFT JOIN activity AS a ON a.stream_id = ? WHERE r.key = ?",
            (stream.stream_id, key),
        ).fetchall()
        for run, last_ts, metric_keys in rows:
            if has_metrics:
                written = self._put_totals(cast(int, run), stream, cast(str, metric_keys))
                self._tables.execute(_SET_METRICS, (last_ts, *written, run))
            else:
                self._tables.execute(_SET_UPDATED, (last_ts, run))

    def remove(self, run: int, value_keys: str | None, metric_keys: str | None) -> None:
        """Everything about a run that is gone."""
        self._delete("run_value", run, _keys(value_keys))
        self._delete("run_metric", run, _keys(metric_keys))
        self._tables.execute(_DROP_DESCRIPTION, (run,))
        self._tables.execute("DELETE FROM run_brief WHERE run = ?", (run,))

    def write(self) -> None:
        """Write it all, in the order of the tables: neighbours share pages."""
        self._tables.executemany(_PUT_VALUE, sorted(self._values, key=_place))
        self._tables.executemany(_PUT_METRIC, sorted(self._metrics, key=_place))
        self._tables.executemany(_PUT_BRIEF, self._briefs)

    def _put_values(self, run: int, named: Mapping[tuple[str, str], Attribute], stored_keys: str | None) -> str:
        if not named and stored_keys in (None, "[]"):
            return "[]"
        known = self._memory.keys
        new = {known.get(name) or self._key(name): value for name, value in named.items()}
        if stored_keys is not None:
            self._delete("run_value", run, [key for key in _keys(stored_keys) if key not in new])
        self._values += [(key, run, number, txt, _folded(txt)) for key, (number, txt) in new.items()]
        return _encode_keys(sorted(new)).decode()

    def _put_description(self, run: int, description: str | None, *, is_new: bool) -> None:
        # `length` ends at a zero: a text with one counts as no ASCII, as it does to the queries.
        if description is not None and (not description.isascii() or "\0" in description):
            self._tables.execute(_PUT_DESCRIPTION, (run, description.casefold()))
        elif not is_new:
            self._tables.execute(_DROP_DESCRIPTION, (run,))

    def _stream_of(self, key: str, stream_id: int | None) -> _Followed:
        """For the row of a run: what is pending, else what the points say."""
        self._memory.pending.pop(key, None)
        stream = self._memory.streams.get(key)
        if stream is None or stream.stream_id != stream_id:
            frames = () if stream_id is None else StoredSeries(self._tables, stream_id).frames()
            stream = _Followed(stream_id or 0, -1, MetricStatistics.of(frames))
        return stream

    def _put_totals(self, run: int, stream: _Followed, stored_keys: str | None) -> tuple[Any, ...]:
        """Write the metrics that differ from what is written; the columns of `run_brief` about all of them."""
        totals = stream.state.totals()
        stream.state.shrink()
        written = stream.written
        if written is None:
            kept = {self._key((METRIC, name)) for name in totals.metrics}
            self._delete("run_metric", run, set(_keys(stored_keys)) - kept)
            written = {}
        stream.written = totals.metrics
        return self._write_totals(run, totals, written)

    def _write_totals(self, run: int, totals: RunTotals, written: Mapping[str, MetricTotal]) -> tuple[Any, ...]:
        keys = {name: self._key((METRIC, name)) for name in totals.metrics}
        for name, total in totals.metrics.items():
            if written.get(name) != total:
                cells, low, high, last, last_step, diverged = total
                self._metrics.append(
                    (keys[name], run, cells, low, high, last, _stored_step(last_step), _stored_step(diverged))
                )
        if gone := written.keys() - keys.keys():
            self._delete("run_metric", run, [self._key((METRIC, name)) for name in gone])
        first, last = _stored_step(totals.first_step), _stored_step(totals.last_step)
        return totals.cells, totals.steps, first, last, _encode_keys(sorted(keys.values())).decode()

    def _delete(self, table: str, run: int, keys: Iterable[int]) -> None:
        rows = [(key, run) for key in keys]
        if rows:
            self._tables.executemany(f"DELETE FROM {table} WHERE key = ? AND run = ?", rows)

    def _key(self, name: tuple[str, str]) -> int:
        key = self._memory.keys.get(name)
        if key is None:
            self._tables.execute("INSERT OR IGNORE INTO run_value_key(source, name) VALUES (?, ?)", name)
            rows = self._tables.execute("SELECT id FROM run_value_key WHERE source = ? AND name = ?", name).fetchall()
            key = self._memory.keys[name] = cast(int, rows[0][0])
        return key


def _write_prepared(memory: _Memory, tables: Tables) -> None:
    """Before the rows of `run`, which were only collected: so no trigger asks for what is there."""
    if not memory.prepared:
        return
    changes = _Changes(memory, tables)
    for run, prepared in memory.prepared:
        changes.put_prepared(run, prepared)
    changes.write()
    memory.prepared.clear()


def _put_part(stream_id: int, totals: bytes | None, tables: Tables) -> None:
    """Keep the totals of a stream; None: they are to be read off its points."""
    if totals is None:
        tables.execute("DELETE FROM run_values_part WHERE stream_id = ?", (stream_id,))
    else:
        tables.execute(_PUT_PART, (stream_id, totals))


def _encoded(totals: RunTotals) -> bytes | None:
    try:
        return _encode_totals(totals)
    except OverflowError:  # a step beyond 64 bits
        return None


def _memory(tables: Tables) -> _Memory:
    memory = tables.memory.get(RunValues.name)
    if memory is None:
        memory = tables.memory[RunValues.name] = _Memory()
    return memory


def _keys(stored: str | None) -> list[int]:
    return _decode_keys(stored) if stored else []


_FACTS = (
    *(
        "listed",
        "run_id",
        "run_id_fold",
        "project",
        "project_fold",
        "name",
        "name_fold",
        "status",
        "created",
        "started",
    ),
    *("ended", "deleted_at", "best_value", "best_step", "best_name", "best_mode"),
)
_place = itemgetter(0, 1)
_facts_of = itemgetter(*map(COLUMNS.index, (*_FACTS, "config")))
_times_of = itemgetter(*map(COLUMNS.index, ("created", "started", "ended", "deleted_at", "annotated")))


def _shown(facts: Sequence[Any], updated: float | None) -> tuple[Any, ...]:
    """Columns of `run_brief`, from `_FACTS` of a run."""
    listed, run_id, run_id_fold, project, project_fold, name, name_fold, *others = facts
    return (
        listed, run_id, _unless_same(run_id_fold, run_id), project, _unless_same(project_fold, project),
        name, _unless_same(name_fold, name), *others, updated,
    )  # fmt: skip


def _folds(facts: Sequence[Any]) -> tuple[str | None, str | None]:
    """The last two of `run_brief`: of status and name of the best metric."""
    return _folded(facts[7]), _folded(facts[14])


def _unless_same(fold: str | None, text: str | None) -> str | None:
    return None if not text or fold == text else fold


def _folded(text: str | None) -> str | None:
    if text is None or text.isascii():
        return None
    fold = text.casefold()
    return None if fold == text.encode().lower().decode() else fold  # of bytes, `lower` is that of ASCII


def _stored_step(step: int | None) -> int | str | None:
    return step if step is None or _MIN_INT64 <= step <= _MAX_INT64 else str(step)
