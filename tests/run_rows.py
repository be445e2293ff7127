"""What the list of runs must hold, worked out from the files alone: plain dictionaries, no code of the projector.

Read every line of every stream with `json`, let each stream claim fields of runs, let the greatest (time, stream name)
win. Slow and obviously right.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import apsw
import msgspec

Row = dict[str, Any]

_COLUMNS = (
    *("key", "run_id", "project", "name", "project_fold", "name_fold", "is_foreign", "is_legacy", "created", "status"),
    *(
        "started",
        "ended",
        "exit_reason",
        "pid",
        "best_value",
        "best_name",
        "best_step",
        "best_mode",
        "artifacts_created",
    ),
    *("artifacts_used", "hostname", "meta", "summary", "deleted_at", "delete_reason", "original_status", "listed"),
    *("config", "tags", "description", "archived", "pinned", "annotated", "label", "source"),
)


def expected_rows(
    root: Path, ends: Mapping[str, int] | None = None
) -> tuple[dict[str, Row], dict[str, tuple[Any, int]]]:
    """The rows of `run` by key, and of `activity` by stream, when streams are applied up to `ends` (None: completely)."""
    world = _World()
    for path in sorted(root.glob("**/events.jsonl")) + sorted(root.glob(".runicorn/log/*.jsonl")):
        is_store = path.name != "events.jsonl"
        name = str((path.with_suffix("") if is_store else path.parent).relative_to(root))
        data = path.read_bytes()
        if ends is not None:
            data = data[: ends.get(name, 0)]
        lines = data.split(b"\n")[:-1]
        if lines:
            world.read(name, is_store, lines)
    return world.rows(), world.activity


def actual_rows(db: apsw.Connection) -> tuple[dict[str, Row], dict[str, tuple[Any, int]]]:
    """What the read model holds, in the same form."""
    rows: dict[str, Row] = {}
    for values in db.execute(f"SELECT {', '.join(_COLUMNS)} FROM run"):
        row: Row = dict(zip(_COLUMNS, values, strict=True))
        row["summary"] = json.dumps(json.loads(row["summary"]), sort_keys=True)
        row["config"] = json.dumps(json.loads(row["config"]), sort_keys=True)
        row["tags"] = json.loads(row["tags"])
        row["label"] = None if row["label"] is None else json.loads(row["label"])
        row["meta"] = sorted(msgspec.msgpack.decode(row["meta"]).items())
        rows[row.pop("key")] = row
    tagged = {(tag, key) for tag, key in db.execute("SELECT tag, key FROM run_tag")}
    assert tagged == {(tag, key) for key, row in rows.items() for tag in row["tags"]}
    activity = {
        name: (last, count)
        for name, last, count in db.execute(
            "SELECT name, last_ts, events FROM activity JOIN stream ON stream.id = stream_id"
        )
    }
    return rows, activity


class _World:
    def __init__(self) -> None:
        self.claims: dict[str, dict[str, dict[str, tuple[float, Any]]]] = {}
        self.own: set[str] = set()
        self.activity: dict[str, tuple[Any, int]] = {}

    def read(self, stream: str, is_store: bool, lines: list[bytes]) -> None:
        if not is_store:
            self.own.add(stream)
            self.claims.setdefault(stream, {})
        times: list[float] = []
        count = 0
        for line in lines:
            try:
                event = json.loads(line.decode("utf-8", "ignore").lstrip("\ufeff"))
            except ValueError:
                continue
            if not isinstance(event, dict):
                continue
            ts = event.get("ts")
            ts = (
                float(ts)
                if isinstance(ts, int | float) and not isinstance(ts, bool) and math.isfinite(ts)
                else math.nan
            )
            count += 1
            if ts == ts:
                times.append(ts)
            data = event.get("data")
            if isinstance(data, dict) and isinstance(event.get("type"), str):
                (self._store_event if is_store else self._run_event)(stream, ts, event["type"], data)
        if not is_store and count:
            self.activity[stream] = (max(times, default=None), count)

    def _say(self, key: str, field: str, stream: str, ts: float, value: Any) -> None:
        said = self.claims.setdefault(key, {}).setdefault(field, {})
        before = said[stream][0] if stream in said else -math.inf
        ts = before if ts != ts else max(ts, before)
        said[stream] = (ts, value)
        if field == "status" and value[1] != _SAME:
            self.claims[key].setdefault("started", {})[stream] = (ts, value[1])

    def _said(self, key: str, field: str, stream: str) -> Any:
        return self.claims.get(key, {}).get(field, {}).get(stream, (0, None))[1]

    def _run_event(self, run: str, ts: float, kind: str, data: Row) -> None:
        if kind == "run.created" and _has(data, run_id=str, project=str, name=str, created_at=float):
            self._say(run, "meta", run, ts, _meta(data))
            self._say(run, "status", run, ts, ("running", _number(data["created_at"]), None, None))
        elif kind == "run.finished" and _has(data, status=str, ended_at=float):
            started = self._said(run, "started", run)
            self._say(
                run, "status", run, ts, (data["status"], started, _number(data["ended_at"]), data.get("exit_reason"))
            )
        elif kind == "run.summarized" and _has(data, update=dict):
            self._say(run, "summary", run, ts, {**(self._said(run, "summary", run) or {}), **data["update"]})
        elif kind == "run.configured" and _has(data, config=dict):
            self._say(run, "config", run, ts, {**(self._said(run, "config", run) or {}), **data["config"]})

    def _store_event(self, stream: str, ts: float, kind: str, data: Row) -> None:
        if not _has(data, run=str, run_id=str):
            return
        key = data["run"]
        if kind == "run.vanished" and _has(data, observed_at=float):
            self._say(key, "present", stream, ts, False)
        elif kind == "run.lost" and _has(data, ended_at=float):
            ended = (data.get("status", "failed"), _SAME, _number(data["ended_at"]), "process_not_found")
            self._say(key, "status", stream, ts, ended)
        elif kind == "run.observed" and _has(data, file=str, observed_at=float):
            self._observed(stream, ts, data)
        else:
            self._decided(stream, ts, kind, data)

    def _decided(self, stream: str, ts: float, kind: str, data: Row) -> None:
        key = data["run"]
        if kind == "run.deleted" and _has(data, deleted_at=float, reason=str, original_status=str):
            marker = (_number(data["deleted_at"]), data["reason"], data["original_status"])
            self._say(key, "deleted", stream, ts, marker)
            self._say(key, "present", stream, ts, True)
        elif kind == "run.restored":
            self._say(key, "deleted", stream, ts, None)
        elif kind == "run.purged":
            self._say(key, "present", stream, ts, False)
            self._annotate(key, stream, ts, {}, None)
        elif kind in _ANNOTATIONS and isinstance(data.get(_ANNOTATIONS[kind][0]), _ANNOTATIONS[kind][1]):
            field = _ANNOTATIONS[kind][0]
            self._say(key, field, stream, ts, _unique(data[field]) if field == "tags" else data[field])
            self._say(key, "annotated", stream, ts, _number(ts))

    def _annotate(self, key: str, stream: str, ts: float, entry: Row, label: Row | None) -> None:
        self._say(key, "tags", stream, ts, _unique(entry.get("tags")))
        self._say(key, "description", stream, ts, _text(entry.get("description")))
        for field in ("archived", "pinned"):
            self._say(key, field, stream, ts, entry.get(field) is True)
        self._say(key, "annotated", stream, ts, _number(entry.get("updated_at")))
        self._say(key, "label", stream, ts, label)

    def _observed(self, stream: str, ts: float, data: Row) -> None:
        key, file = data["run"], data["file"]
        content = data.get("content") or {}
        if file == "":
            self._say(key, "present", stream, ts, True)
            self._say(key, "directory", stream, ts, _number(content.get("mtime")))
        elif file == "meta.json":
            self._say(key, "meta", stream, ts, _meta(content))
        elif file == "status.json":
            status = content.get("status")
            status = "finished" if status in (None, "") else status if isinstance(status, str) else str(status)
            times = (_number(content.get("started_at")), _number(content.get("ended_at")))
            self._say(key, "status", stream, ts, (status, *times, _text(content.get("exit_reason"))))
        elif file == "summary.json":
            self._say(key, "summary", stream, ts, content)
        elif file == ".deleted":
            at = _number(content.get("deleted_at"))
            reasons = (_text(content.get(name)) or "unknown" for name in ("reason", "original_status"))
            marker = None if data["content"] is None else ((ts if at is None else at), *reasons)
            self._say(key, "deleted", stream, ts, marker)
        elif file in ("artifacts_created.json", "artifacts_used.json"):
            entries = content.get("artifacts")
            self._say(key, file, stream, ts, len(entries) if isinstance(entries, list) else 0)
        elif file == ".experiments_metadata.json":
            texts = {name: _text(content.get(name)) for name in ("project", "name")}
            label: Row = {**texts, "created_at": _number(content.get("created_at"))}
            label = {name: value for name, value in label.items() if value is not None}
            self._annotate(key, stream, ts, content, None if data["content"] is None else label)

    def rows(self) -> dict[str, Row]:
        rows: dict[str, Row] = {}
        for key, fields in self.claims.items():

            def winner(field: str, default: Any = None, fields: Any = fields) -> Any:
                said = fields.get(field)
                return max((ts, stream, value) for stream, (ts, value) in _sortable(said))[2][0] if said else default

            if winner("present", key in self.own):
                rows[key] = _row(key, winner)
        return rows


_SAME = "as the run says"
"""In place of a start, in what is said about a run by whoever found it dead."""


def _sortable(said: dict[str, tuple[float, Any]]) -> list[tuple[str, tuple[float, list[Any]]]]:
    return [(stream, (ts, [value])) for stream, (ts, value) in said.items()]  # streams differ: values never compare


def _row(key: str, winner: Any) -> Row:
    path = key.split("/")
    legacy = len(path) == 2
    meta = winner("meta", {})
    status, started, ended, exit_reason = winner("status", ("finished", None, None, None))
    started = winner("started") if started == _SAME else started
    summary = winner("summary", {})
    deleted = winner("deleted")
    project = meta.get("project") or (None if legacy else path[0])
    name = meta.get("name") or (None if legacy else path[1])
    created = meta.get("created_at")
    best = summary.get("best_metric_value")
    step = summary.get("best_metric_step")
    return {
        "run_id": path[-1],
        "project": project,
        "name": name,
        "project_fold": (project or "").casefold(),
        "name_fold": (name or "").casefold(),
        "is_foreign": 0,
        "is_legacy": int(legacy),
        "source": None,
        "created": winner("directory") if created is None else created,
        "status": status,
        "started": started,
        "ended": ended,
        "exit_reason": exit_reason,
        "pid": meta.get("pid"),
        "best_value": None if best is None else _number(float(best)),
        "best_name": _text(summary.get("best_metric_name")),
        "best_step": step if isinstance(step, int) else None,
        "best_mode": _text(summary.get("best_metric_mode")),
        "artifacts_created": winner("artifacts_created.json", 0),
        "artifacts_used": winner("artifacts_used.json", 0),
        "hostname": meta.get("hostname"),
        "meta": sorted(meta.items()),
        "summary": json.dumps(summary, sort_keys=True),
        "deleted_at": None if deleted is None else _number(deleted[0]),
        "delete_reason": None if deleted is None else deleted[1],
        "original_status": None if deleted is None else deleted[2],
        "listed": int(deleted is None),
        "config": json.dumps(winner("config", {}), sort_keys=True),
        "tags": winner("tags", []),
        "description": winner("description"),
        "archived": int(winner("archived", False)),
        "pinned": int(winner("pinned", False)),
        "annotated": winner("annotated"),
        "label": winner("label"),
    }


_ANNOTATIONS: dict[str, tuple[str, Any]] = {
    "run.tagged": ("tags", list),
    "run.described": ("description", str | None),
    "run.archived": ("archived", bool),
    "run.pinned": ("pinned", bool),
}


def _unique(tags: Any) -> list[str]:
    return list(dict.fromkeys(tag for tag in tags if isinstance(tag, str))) if isinstance(tags, list) else []


def _meta(content: Row) -> Row:
    texts = {name: _text(content.get(name)) for name in ("python", "platform", "hostname", "boot_id")}
    names = {name: _text(content.get(name)) or None for name in ("project", "name")}
    numbers = {name: _number(content.get(name)) for name in ("created_at", "pid_started_at")}
    integers = {name: _integer(content.get(name)) for name in ("pid", "pid_start_ticks", "pid_ns")}
    return {name: value for name, value in {**texts, **names, **numbers, **integers}.items() if value is not None}


def _has(data: Row, **types: type) -> bool:
    return all(
        isinstance(data.get(name), (int, float) if kind is float else kind) and not isinstance(data.get(name), bool)
        for name, kind in types.items()
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _integer(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
