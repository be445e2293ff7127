"""Storage roots to measure on: as 0.4.0 wrote them, and as our SDK writes them.

Deterministic: the same shape and seed give the same runs (only file times differ). About 3 000 runs or 700 000 events
a second. Every run belongs to another host, so that liveness leaves the running ones alone.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from benchmarks.curves import METRICS, training_curves, wall_times

Writer = Literal["0.4.0", "sdk"]

_FIRST_RUN_AT = 1_700_000_000.0
_RUN_EVERY_S = 97.0
_PROJECTS = ("vision", "language", "speech", "recommendation", "control")
_NAMES = ("baseline", "ablation", "sweep-lr", "sweep-depth", "distilled", "finetune", "scratch", "large")
_ENDS = ("finished", "failed", "interrupted", "running")
_END_SHARES = (0.90, 0.06, 0.03, 0.01)
_BLOCK = 50_000  # events encoded at a time

_SCHEDULES = ("Étapes à 30 époques", "余弦退火", "cosine")

_encode = msgspec.json.Encoder().encode
_encode_lines = msgspec.json.Encoder().encode_lines


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What a store looks like."""

    runs: int
    events: int
    """Metrics events of each run."""
    metrics: int
    """Metrics in each event, besides step and time."""
    writer: Writer
    seed: int = 0

    @property
    def all_events(self) -> int:
        """Metrics events in the whole store."""
        return self.runs * self.events

    @property
    def points(self) -> int:
        """Metric values in the whole store."""
        return self.all_events * self.metrics


class StoredRun(msgspec.Struct, frozen=True):
    """One generated run. `key` is its path below the root."""

    key: str
    run_id: str
    status: str


def write_store(root: Path, shape: Shape) -> list[StoredRun]:
    """Fill `root` with runs, in the order in which they were made."""
    random = np.random.default_rng(shape.seed)
    line = _line_encoder(shape)
    parents: set[str] = set()
    return [_write_run(root, shape, random, line, parents, number) for number in range(shape.runs)]


class _LineEncoder:
    """Encodes metrics events the way the writer does."""

    def __init__(self, names: tuple[str, ...], writer: Writer) -> None:
        self._names = (*names, "global_step", "time")
        self._writer = writer
        wire_names = {
            f"metric_{number}": name for number, name in enumerate(names)
        }  # a name may hold what Python's cannot
        fields = [*((field, float) for field in wire_names), ("global_step", int), ("time", float)]
        self._data = msgspec.defstruct("Data", fields, rename=wire_names, gc=False)
        self._line = msgspec.defstruct("Line", [("ts", float), ("type", str), ("data", self._data)], gc=False)

    def encode(self, columns: list[list[float]], steps: range, times: list[float]) -> bytes:
        """The lines of these steps; one column per metric."""
        rows = zip(*columns, steps, times, strict=True)
        if self._writer == "sdk":
            line, data = self._line, self._data
            return _encode_lines([line(row[-1], "metrics", data(*row)) for row in rows])
        dumps, names = json.dumps, self._names
        return "".join(
            dumps({"ts": row[-1], "type": "metrics", "data": dict(zip(names, row, strict=True))}) + "\n" for row in rows
        ).encode()


def _line_encoder(shape: Shape) -> _LineEncoder:
    return _LineEncoder(METRICS[: shape.metrics], shape.writer)


def _write_run(
    root: Path, shape: Shape, random: np.random.Generator, line: _LineEncoder, parents: set[str], number: int
) -> StoredRun:
    created = _FIRST_RUN_AT + number * _RUN_EVERY_S
    run_id = f"{time.strftime('%Y%m%d_%H%M%S', time.gmtime(created))}_{random.integers(0, 1 << 24):06x}"
    project = _PROJECTS[random.integers(0, len(_PROJECTS))]
    name = _NAMES[random.integers(0, len(_NAMES))]
    status = _ENDS[random.choice(len(_ENDS), p=_END_SHARES)]
    parent = f"{project}/{name}/runs"
    if parent not in parents:
        os.makedirs(root / parent)
        parents.add(parent)
    key = f"{parent}/{run_id}"
    directory = f"{root}/{key}"
    os.mkdir(directory)
    os.mkdir(f"{directory}/media")
    meta = _meta(root, key, run_id, project, name, created, pid=int(random.integers(300, 60_000)))
    columns = training_curves(random, shape.events, shape.metrics)
    times = wall_times(random, created, shape.events)
    ended = round(times[-1] + 0.01, 6) if times else created + 1
    summary = _summary(random, columns)
    with open(f"{directory}/events.jsonl", "wb") as file:
        if shape.writer == "sdk":
            kept = {field: value for field, value in meta.items() if field not in ("id", "storage_dir")}
            file.write(_event(created, "run.created", {"run_id": run_id, **kept}))
        for lines in _metrics(line, list(columns.values()), times):
            file.write(lines)
        if shape.writer == "sdk" and status != "running":
            file.write(_event(ended, "run.summarized", {"update": summary}))
            file.write(_event(ended, "run.finished", {"status": status, "ended_at": ended}))
    ending = {} if status == "running" else {"ended_at": ended}
    _write_json(f"{directory}/meta.json", meta)
    _write_json(f"{directory}/status.json", {"status": status, "started_at": created, **ending})
    if status != "running":
        _write_json(f"{directory}/summary.json", summary)
    return StoredRun(key, run_id, status)


def _metrics(line: _LineEncoder, columns: list[list[float]], times: list[float]) -> Iterator[bytes]:
    for start in range(0, len(times), _BLOCK):
        part = slice(start, start + _BLOCK)
        steps = range(start + 1, min(start + _BLOCK, len(times)) + 1)
        yield line.encode([column[part] for column in columns], steps, times[part])


def _meta(root: Path, key: str, run_id: str, project: str, name: str, created: float, *, pid: int) -> dict[str, Any]:
    return {
        "id": run_id,
        "project": project,
        "name": name,
        "created_at": created,
        "python": "3.11.9",
        "platform": "Linux 6.1 (x86_64)",
        "hostname": f"trainer-{pid % 16:02d}",
        "pid": pid,
        "storage_dir": str(root),
    }


def _summary(random: np.random.Generator, columns: dict[str, list[float]]) -> dict[str, Any]:
    batch_size, depth = int(2 ** random.integers(4, 10)), int(random.integers(2, 48))
    options = {
        "batch_size": batch_size,
        "depth": depth,
        "schedule": _SCHEDULES[depth % len(_SCHEDULES)],
        "optimizer": ("adamw", "sgd", "lion")[random.integers(0, 3)],
        "dropout": round(float(random.uniform(0, 0.5)), 2),
    }
    name = "accuracy" if "accuracy" in columns else "loss"
    values = columns.get(name)
    if not values:
        return options
    mode = "max" if name == "accuracy" else "min"
    best = max(values) if mode == "max" else min(values)
    return {
        **options,
        "best_metric_value": best,
        "best_metric_name": name,
        "best_metric_step": values.index(best) + 1,
        "best_metric_mode": mode,
    }


def _event(ts: float, kind: str, data: dict[str, Any]) -> bytes:
    return _encode({"ts": ts, "type": kind, "data": data}) + b"\n"


def _write_json(path: str, value: dict[str, Any]) -> None:
    # Not `runicorn.files.write_json`: nobody reads these files yet, so a rename for each would only cost time.
    with open(path, "w", encoding="utf-8") as file:
        file.write(json.dumps(value, ensure_ascii=False, indent=2))
