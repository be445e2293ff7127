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

from collections.abc import Iterable, Mapping
from typing import Any, cast

from runicorn.columns import StoredSeries
from runicorn.plugin import Batch, Meaning, Stream, StreamKind, Tables
from runicorn_runs.metric_statistics import MetricStatistics
from runicorn_runs.projections.batch_frame import metric_frame
from runicorn_runs.projections.run_value_rows import TOUCHED, Changes, Followed, Memory
from runicorn_runs.projections.single_run import rows_to_write
from runicorn_runs.projections.values_of_run import PreparedValues, ValuesPreparation, encoded_totals

_AT_ONCE = 2000  # runs that are written together
_KEPT_RUNS = 2000  # states of streams that may grow, a few KB each; another one is read from its points again

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
            known = Followed(batch.stream_id, 0, MetricStatistics())
            memory.streams[key] = known
        elif known is None or (known.stream_id, known.end) != (batch.stream_id, batch.start):
            # The points of this batch are stored already: `metric_points` comes before this projection.
            known = Followed(batch.stream_id, batch.end, MetricStatistics.of(stored()))
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
            memory.streams[key] = Followed(stream_id, -1, MetricStatistics())
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
                    _put_part(stream.stream_id, encoded_totals(stream.state.totals()), tables)
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

    def _write(self, memory: Memory, tables: Tables) -> None:
        last = 0
        while touched := tables.execute(TOUCHED, (last, _AT_ONCE)).fetchall():
            changes = Changes(memory, tables)
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
            changes = Changes(memory, tables)
            for key, has_metrics in memory.pending.items():
                changes.put_metrics(key, has_metrics)
            changes.write()


def _write_prepared(memory: Memory, tables: Tables) -> None:
    """Before the rows of `run`, which were only collected: so no trigger asks for what is there."""
    if not memory.prepared:
        return
    changes = Changes(memory, tables)
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


def _memory(tables: Tables) -> Memory:
    memory = tables.memory.get(RunValues.name)
    if memory is None:
        memory = tables.memory[RunValues.name] = Memory()
    return memory
