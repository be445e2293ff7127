"""Writing the rows of `run_values`: all that one transaction changes, in the order of the tables."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, cast

import msgspec

from runicorn.columns import StoredSeries
from runicorn.plugin import Tables
from runicorn_runs.attributes import Attribute, attributes
from runicorn_runs.metric_statistics import MetricStatistics
from runicorn_runs.metric_totals import MetricTotal, RunTotals
from runicorn_runs.projections.values_of_run import CONFIG, METRIC, SUMMARY, PreparedValues, folded, folds, shown

_BRIEF = (
    "run, listed, run_id, run_id_fold, project, project_fold, name, name_fold, status, created, started, ended, deleted_at,"
    " best_value, best_step, best_name, best_mode, updated, metric_count, steps, first_step, last_step, value_keys,"
    " metric_keys, status_fold, best_name_fold"
)
TOUCHED = (
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
"""The rows of `run` that triggers have noted, after an id and so many, as `Changes.put` takes them."""

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
_decode_totals = msgspec.msgpack.Decoder(RunTotals).decode
_place = itemgetter(0, 1)


class Followed:
    """What is known of a run's own stream."""

    __slots__ = ("end", "state", "stream_id", "written")

    def __init__(self, stream_id: int, end: int, state: MetricStatistics) -> None:
        self.stream_id = stream_id
        self.end = end
        self.state = state
        self.written: dict[str, MetricTotal] | None = None
        """What `run_metric` has of it; None: unknown, `run_brief` names its rows."""


class Memory:
    """What this projection remembers of one file."""

    def __init__(self) -> None:
        self.keys: dict[tuple[str, str], int] = {}
        """Ids of names."""
        self.streams: OrderedDict[str, Followed] = OrderedDict()
        """By run key, the last ones that were read."""
        self.pending: dict[str, bool] = {}
        """Run keys whose streams were read in this transaction; true where metrics were among the events."""
        self.prepared: list[tuple[int, PreparedValues]] = []
        """Runs whose rows were prepared, to be written with this transaction."""


class Changes:
    """The rows that one transaction writes."""

    def __init__(self, memory: Memory, tables: Tables) -> None:
        self._memory = memory
        self._tables = tables
        self._values: list[tuple[int, int, float | None, str | None, str | None]] = []
        self._metrics: list[tuple[Any, ...]] = []
        self._briefs: list[tuple[Any, ...]] = []

    def put(self, row: Sequence[Any]) -> None:
        """The row of a run as `TOUCHED` reads it, and its values and metrics if it is new or they differ."""
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
        self._briefs.append((run, *shown(facts, updated), *counts, new_keys, metric_keys, *folds(facts)))

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
        self._values += [(key, run, number, txt, folded(txt)) for key, (number, txt) in new.items()]
        return _encode_keys(sorted(new)).decode()

    def _put_description(self, run: int, description: str | None, *, is_new: bool) -> None:
        # `length` ends at a zero: a text with one counts as no ASCII, as it does to the queries.
        if description is not None and (not description.isascii() or "\0" in description):
            self._tables.execute(_PUT_DESCRIPTION, (run, description.casefold()))
        elif not is_new:
            self._tables.execute(_DROP_DESCRIPTION, (run,))

    def _stream_of(self, key: str, stream_id: int | None) -> Followed:
        """For the row of a run: what is pending, else what the points say."""
        self._memory.pending.pop(key, None)
        stream = self._memory.streams.get(key)
        if stream is None or stream.stream_id != stream_id:
            frames = () if stream_id is None else StoredSeries(self._tables, stream_id).frames()
            stream = Followed(stream_id or 0, -1, MetricStatistics.of(frames))
        return stream

    def _put_totals(self, run: int, stream: Followed, stored_keys: str | None) -> tuple[Any, ...]:
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


def _keys(stored: str | None) -> list[int]:
    return _decode_keys(stored) if stored else []


def _stored_step(step: int | None) -> int | str | None:
    return step if step is None or _MIN_INT64 <= step <= _MAX_INT64 else str(step)
