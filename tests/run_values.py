"""What `run_values` must hold, worked out from the other read models: every run alone, every cell looked at."""

from __future__ import annotations

import json
import math
from typing import Any, cast

import apsw

from runicorn.columns import StoredSeries, rows_by_step

Row = dict[str, Any]

_SAME = (
    *("listed", "run_id", "project", "name", "status", "created", "started", "ended", "deleted_at"),
    *("best_value", "best_step", "best_name", "best_mode"),
)


def actual_values(db: apsw.Connection) -> dict[str, Row]:
    """What the read model holds, by run key."""
    assert not db.execute("SELECT 1 FROM run_touched").fetchall()
    names = {key: (source, name) for key, source, name in db.execute("SELECT id, source, name FROM run_value_key")}
    keys = cast("dict[Any, Any]", dict(db.execute("SELECT id, key FROM run")))  # type: ignore[arg-type]  # pairs
    counts = ["metric_count", "steps", "first_step", "last_step", "updated"]
    rows: dict[str, Row] = {}
    columns = [*_SAME, *counts, "ifnull(project_fold, project)", "ifnull(name_fold, name)"]
    columns += ["ifnull(run_id_fold, run_id)", "value_keys", "metric_keys"]
    for run, *values in db.execute(f"SELECT run, {', '.join(columns)} FROM run_brief"):
        row = dict(zip(columns, values, strict=True))
        row["values"], row["metrics"] = {}, {}
        rows[keys[run]] = row
    assert_folded(db)
    for key, run, num, txt in db.execute("SELECT key, run, num, txt FROM run_value"):
        rows[keys[run]]["values"][names[key]] = (num, txt)
    for key, run, *total in db.execute("SELECT key, run, cells, low, high, last, last_step, diverged FROM run_metric"):
        assert names[key][0] == "m"
        rows[keys[run]]["metrics"][names[key][1]] = tuple(total)
    for row in rows.values():
        for listed, found in (("value_keys", set(row["values"])), ("metric_keys", {("m", n) for n in row["metrics"]})):
            ids = json.loads(row.pop(listed))
            assert ids == sorted(ids)
            assert {names[key] for key in ids} == found
    return rows


def assert_folded(db: apsw.Connection) -> None:
    """Every text has its case-folded one, by the rule that queries count on."""
    for text, fold in db.execute(
        "SELECT txt, ifnull(fold, lower(txt)) FROM run_value WHERE txt IS NOT NULL"
        " UNION ALL SELECT status, ifnull(status_fold, lower(status)) FROM run_brief"
        " UNION ALL SELECT best_name, ifnull(best_name_fold, lower(best_name)) FROM run_brief WHERE best_name IS NOT NULL"
    ):
        assert fold == str(text).casefold()
    folded = dict(db.execute("SELECT run, fold FROM run_folded_description"))  # type: ignore[arg-type]  # pairs
    described = db.execute("SELECT id, description FROM run WHERE octet_length(description) <> length(description)")
    assert folded == {run: str(text).casefold() for run, text in described}


def expected_values(db: apsw.Connection) -> dict[str, Row]:
    """In the same form, from `run`, `activity` and the stored metric points."""
    streams = {name: stream_id for stream_id, name in db.execute("SELECT id, name FROM stream")}
    last = cast(
        "dict[Any, Any]", dict(db.execute("SELECT name, last_ts FROM activity JOIN stream ON stream.id = stream_id"))
    )  # type: ignore[arg-type]  # pairs
    rows: dict[str, Row] = {}
    for key, annotated, summary, config, *values in db.execute(
        f"SELECT key, annotated, summary, config, {', '.join(_SAME)} FROM run"
    ):
        row: Row = dict(zip(_SAME, values, strict=True))
        times = [row["created"], row["started"], row["ended"], row["deleted_at"], annotated, last.get(str(key))]
        row["updated"] = max((ts for ts in times if ts), default=None)
        if row["updated"] is not None and row["updated"] < 0:
            row["updated"] = None
        for name in ("project", "name", "run_id"):
            row[f"ifnull({name}_fold, {name})"] = None if row[name] is None else row[name].casefold()
        row["values"] = {("s", name): value for name, value in _values(json.loads(cast(bytes, summary)))}
        row["values"] |= {("c", name): value for name, value in _values(json.loads(cast(str, config)))}
        rows[str(key)] = row | _metrics(db, streams.get(key))
    return rows


def _values(content: Row, prefix: str = "") -> list[tuple[str, tuple[float | None, str | None]]]:
    found = []
    for name, value in content.items():
        if isinstance(value, dict):
            found += _values(value, f"{prefix}{name}.")
        elif isinstance(value, str):
            found.append((prefix + name, (None, value)))
        elif isinstance(value, int | float) and math.isfinite(value):
            found.append((prefix + name, (float(value), None)))
    return found


def _metrics(db: apsw.Connection, stream_id: Any) -> Row:
    table = rows_by_step(() if stream_id is None else StoredSeries(db, stream_id).frames())
    steps: list[Any] = table.columns["global_step"].values(0, table.rows) if table.rows else []
    counted: set[Any] = set()
    metrics: Row = {}
    count = 0
    for name, column in table.columns.items():
        if name in ("global_step", "time", "stage"):
            continue
        cells = [
            (step, float(value))
            for step, value in zip(steps, column.values(0, table.rows), strict=True)
            if isinstance(value, bool | int | float)
        ]
        finite = [(step, value) for step, value in cells if math.isfinite(value)]
        if cells:
            count += len(cells)
            counted |= {step for step, _ in cells}
            values = [value for _, value in finite]
            end = (finite[-1][1], finite[-1][0]) if finite else (None, None)
            end = (end[0], _stored(end[1]))
            diverged = None if math.isfinite(cells[-1][1]) else _stored(cells[-1][0])
            metrics[name] = (
                len(cells), min(values, default=None), max(values, default=None), *end, diverged,
            )  # fmt: skip
    return {
        "metrics": metrics,
        "metric_count": count,
        "steps": len(counted),
        "first_step": _stored(min(counted, default=None)),
        "last_step": _stored(max(counted, default=None)),
    }


def _stored(step: int | None) -> int | str | None:
    """Steps beyond 64 bits are digits."""
    return step if step is None or abs(step) < 1 << 63 else str(step)
