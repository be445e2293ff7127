"""The 0.4.0 way of doing what is measured, written simply.

0.4.0 keeps files only, and reads them for each answer. What is left out makes these baselines faster than 0.4.0 was:
HTTP and its framework, liveness checks while listing, the capture of the environment by `pip`, and the pause and disk
sync at the end of each run. So the ratios in the table are lower bounds.
"""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
import platform
import sqlite3
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any


def list_runs(root: Path) -> bytes:
    """The answer of `GET /api/runs`: scan the directories, parse the JSON files of each run, encode."""
    runs: list[dict[str, Any]] = []
    for project in root.iterdir():
        if not project.is_dir() or project.name.startswith("."):
            continue
        for name in project.iterdir():
            for run in (name / "runs").iterdir():
                if (run / ".deleted").exists():
                    continue
                meta, status, summary = (_read_json(run / f"{file}.json") for file in ("meta", "status", "summary"))
                runs.append(
                    {
                        "id": run.name,
                        "run_dir": str(run),
                        "created_time": meta.get("created_at"),
                        "status": status.get("status", "finished"),
                        "pid": meta.get("pid"),
                        "best_metric_value": summary.get("best_metric_value"),
                        "best_metric_name": summary.get("best_metric_name"),
                        "project": meta.get("project"),
                        "name": meta.get("name"),
                        "artifacts_created_count": len(_read_json(run / "artifacts_created.json").get("artifacts", [])),
                        "artifacts_used_count": len(_read_json(run / "artifacts_used.json").get("artifacts", [])),
                    }
                )
    runs.sort(key=lambda run: (run["project"] or "", run["name"] or "", -(run["created_time"] or 0)))
    return json.dumps(runs).encode()


def soft_delete(root: Path, run_ids: list[str]) -> None:
    """Find each run by a scan of its own, as 0.4.0 does, and write the marker; then take the markers away again."""
    markers: list[Path] = []
    for run_id in run_ids:
        found = _find_run(root, run_id)
        status = _read_json(found / "status.json").get("status", "unknown")
        marker = found / ".deleted"
        marker.write_text(json.dumps({"deleted_at": time.time(), "reason": "user_deleted", "original_status": status}))
        markers.append(marker)
    for marker in markers:
        marker.unlink()


def _find_run(root: Path, run_id: str) -> Path:
    entries: list[Path] = []
    for project in root.iterdir():
        if project.is_dir() and not project.name.startswith("."):
            for name in project.iterdir():
                entries += [
                    run for run in (name / "runs").iterdir() if run.is_dir() and not (run / ".deleted").exists()
                ]
    return next(run for run in entries if run.name == run_id)


def metrics_step(events: Path) -> bytes:
    """The answer of `GET /api/runs/{run_id}/metrics_step`: parse every line, merge by step, encode."""
    rows: dict[int, dict[str, Any]] = {}
    names: set[str] = set()
    with events.open(encoding="utf-8") as file:
        for line in file:
            event = json.loads(line)
            if event.get("type") != "metrics":
                continue
            data = event["data"]
            step = int(data["global_step"])
            row = rows.setdefault(step, {"global_step": step})
            for name, value in data.items():
                if name not in ("global_step", "step", "epoch"):
                    row[name] = value
                    names.add(name)
    columns = ["global_step", *sorted(names)]
    answer = [{name: rows[step].get(name) for name in columns} for step in sorted(rows)]
    return json.dumps({"columns": columns, "rows": answer}).encode()


def index_events(files: list[Path], database: Path, limit: int) -> int:
    """Fill a database with one row per value, a transaction per run, from at most `limit` events; their number."""
    connection = sqlite3.connect(database)
    connection.executescript(
        "PRAGMA journal_mode=wal; PRAGMA synchronous=normal;"
        "CREATE TABLE metrics(experiment_id TEXT, timestamp REAL, metric_name TEXT, metric_value REAL, step INTEGER);"
        "CREATE INDEX metrics_by_name ON metrics(experiment_id, metric_name, step);"
    )
    count = 0
    for path in files:
        with path.open(encoding="utf-8") as file:
            values: list[tuple[str, float, str, float, int]] = []
            for line in islice(file, limit - count):
                event = json.loads(line)
                count += 1
                if event.get("type") != "metrics":
                    continue
                data = event["data"]
                step = data.pop("global_step")
                data.pop("time")
                values += [(path.parent.name, event["ts"], name, value, step) for name, value in data.items()]
        with connection:
            connection.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?, ?)", values)
        if count >= limit:
            break
    connection.close()
    return count


class Experiments:
    """The V2 list: a wide table in SQLite, every item as JSON, the total counted for each page."""

    def __init__(self, root: Path, database: Path) -> None:
        self._connection = sqlite3.connect(database)
        self._connection.executescript(
            "PRAGMA journal_mode=wal; CREATE TABLE experiments(id TEXT PRIMARY KEY, project TEXT, name TEXT, run_dir TEXT,"
            " created_at REAL, status TEXT, pid INTEGER, best_metric_value REAL, best_metric_name TEXT, metadata TEXT);"
            "CREATE INDEX by_created ON experiments(created_at DESC); CREATE INDEX by_status ON experiments(status);"
        )
        runs = json.loads(list_runs(root))
        columns = ("id", "project", "name", "run_dir", "created_time", "status", "pid", "best_metric_value")
        rows = [(*(run[key] for key in columns), run["best_metric_name"], json.dumps(run)) for run in runs]
        with self._connection:
            self._connection.executemany("INSERT INTO experiments VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def page(self, condition: str = "1", *values: object) -> bytes:
        """The newest 50 that fulfil an SQL condition, with the exact total."""
        counted = self._connection.execute(f"SELECT COUNT(*) FROM experiments WHERE {condition}", values)
        total = counted.fetchone()[0]
        found = self._connection.execute(
            f"SELECT * FROM experiments WHERE {condition} ORDER BY created_at DESC LIMIT 50", values
        )
        names = [column[0] for column in found.description]
        items = [dict(zip(names, row, strict=True)) for row in found]
        return json.dumps({"experiments": items, "total": total, "page": 1, "per_page": 50}).encode()


class Run:
    """A run as 0.4.0's SDK records it: for each call take the lock, open the file, write, close."""

    def __init__(self, project: str, storage: Path) -> None:
        now = time.time()
        self.id = f"{time.strftime('%Y%m%d_%H%M%S')}_{uuid.uuid4().hex[:6]}"
        self.directory = storage / project / "default" / "runs" / self.id
        (self.directory / "media").mkdir(parents=True)
        self._events = self.directory / "events.jsonl"
        self._step = 0
        meta = {
            "id": self.id,
            "project": project,
            "name": "default",
            "created_at": now,
            "python": platform.python_version(),
            "platform": f"{platform.system()} {platform.release()} ({platform.machine()})",
            "hostname": platform.node(),
            "pid": os.getpid(),
            "storage_dir": str(storage),
        }
        _write_json(self.directory / "meta.json", meta)
        _write_json(self.directory / "status.json", {"status": "running", "started_at": now})

    def log(self, data: dict[str, Any]) -> None:
        """Append one event."""
        self._step += 1
        now = time.time()
        event = {"ts": now, "type": "metrics", "data": {**data, "global_step": self._step, "time": now}}
        with _locked(self._events), self._events.open("a", encoding="utf-8") as file:
            file.write(json.dumps(event, ensure_ascii=False) + "\n")

    def finish(self) -> None:
        """Rewrite summary and status."""
        with _locked(self.directory / "summary.json"):
            _write_json(self.directory / "summary.json", _read_json(self.directory / "summary.json"))
        status = self.directory / "status.json"
        with _locked(status):
            _write_json(status, {**_read_json(status), "status": "finished", "ended_at": time.time()})


@contextmanager
def _locked(path: Path) -> Generator[None]:
    # What the `filelock` package does, without its bookkeeping.
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text("utf-8")) if path.exists() else {}


def _write_json(path: Path, value: dict[str, Any]) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value, ensure_ascii=False, indent=2), "utf-8")
    temporary.replace(path)


def export_csv(events: Path) -> bytes:
    """The answer of `GET /api/export/{run_id}/csv`: parse every line, keep all rows, write them with `csv`."""
    rows: list[dict[str, Any]] = []
    columns: set[str] = set()
    with events.open(encoding="utf-8") as file:
        for line in file:
            event = json.loads(line)
            if event.get("type") == "metrics":
                rows.append(event["data"])
                columns.update(event["data"])
    leading = [name for name in ("global_step", "step", "time", "stage") if name in columns]
    output = io.StringIO()
    writer = csv.DictWriter(output, [*leading, *sorted(columns.difference(leading))])
    writer.writeheader()
    writer.writerows(rows)
    return output.getvalue().encode()
