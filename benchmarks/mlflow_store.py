"""The runs of a generated store in MLflow: its SQLite backend, asked through its own client.

MLflow is the extra `mlflow`; it is untyped, and never needed by anything else here. Asked in this process, without
`mlflow server` and HTTP before it, so that ratios are lower bounds.

Its client takes milliseconds to write a run, a quarter of an hour or more for 100 000: the first runs are written by the
client, the others as the same rows straight into its tables, and the client is asked whether it finds them whole.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import sqlite3
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.store import StoredRun

_PAGE = 50_000  # what `search_runs` returns at most at once
_NEWEST = ["attributes.start_time DESC"]
_STATES = {"running": "RUNNING", "failed": "FAILED", "interrupted": "KILLED"}


class MlflowStore:
    """One experiment in MLflow. ModuleNotFoundError where the extra is not installed."""

    def __init__(self, database: Path) -> None:
        # It counts its users over the network unless it is told not to.
        os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="true")
        self._entities: Any = importlib.import_module("mlflow.entities")
        tracking: Any = importlib.import_module("mlflow.tracking")
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.ERROR)
        self._database = database
        uri = f"sqlite:///{database}"
        self._client: Any = tracking.MlflowClient(tracking_uri=uri, registry_uri=uri)
        self._experiment = self._client.create_experiment("runs", artifact_location=str(database.parent / "artifacts"))
        self._last_run = ""

    @staticmethod
    def version() -> str:
        """The installed version."""
        return str(importlib.import_module("mlflow").__version__)

    def add(self, root: Path, run: StoredRun) -> None:
        """Record a run as a user of MLflow does: begin it, log all its metrics in one batch, end it."""
        begun = _Begun.read(root, run)
        created = self._client.create_run(
            self._experiment, start_time=begun.at, run_name=begun.name, tags=begun.tags(run.run_id)
        )
        self._last_run = created.info.run_id
        points = [self._entities.Metric(*point) for point in _points(root, run)]
        self._client.log_batch(self._last_run, metrics=points)
        self._client.set_terminated(self._last_run, _state(run))

    def add_rows(self, root: Path, runs: Iterable[StoredRun]) -> Iterator[StoredRun]:
        """Write the rows that `add` leaves in the database, for many runs in one transaction; yields each that is written.

        Nothing is kept unless all of them are taken from the iterator. ValueError if MLflow's client then reads something
        else of the last of them than was written.
        """
        run: StoredRun | None = None
        connection = sqlite3.connect(self._database)
        try:
            connection.executescript("PRAGMA synchronous = OFF; PRAGMA cache_size = -200000;")
            for run in runs:
                self._last_run = uuid.uuid4().hex
                self._write_rows(connection, root, run)
                yield run
            connection.commit()
        finally:
            connection.close()
        if run is not None:
            self._check_last(root, run)

    def _check_last(self, root: Path, run: StoredRun) -> None:
        begun, points = _Begun.read(root, run), list(_points(root, run))
        found = self._client.get_run(self._last_run)
        expected = {name: value for name, value, _, _ in points}
        if (found.info.run_name, found.info.start_time, found.info.status) != (begun.name, begun.at, _state(run)):
            raise ValueError(f"MLflow reads another run than {run.run_id}: {found.info}")
        if found.data.metrics != expected or found.data.tags["run_id"] != run.run_id:
            raise ValueError(f"MLflow reads other values of {run.run_id}: {found.data}")
        for metric in expected:
            history = [
                (point.value, point.timestamp, point.step)
                for point in self._client.get_metric_history(self._last_run, metric)
            ]
            if history != [point[1:] for point in points if point[0] == metric]:
                raise ValueError(f"MLflow reads another history of {metric} in {run.run_id}")

    def _write_rows(self, connection: sqlite3.Connection, root: Path, run: StoredRun) -> None:
        begun, key = _Begun.read(root, run), self._last_run
        points = list(_points(root, run))
        artifacts = f"{self._database.parent / 'artifacts'}/{key}/artifacts"
        ended = points[-1][2] if points else begun.at
        connection.execute(
            """
            INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time,
                              end_time, source_version, lifecycle_stage, artifact_uri, experiment_id)
            VALUES (?, ?, 'UNKNOWN', '', '', 'unknown', ?, ?, ?, '', 'active', ?, ?)
            """,
            (key, begun.name, _state(run), begun.at, ended, artifacts, int(self._experiment)),
        )
        tags = {**begun.tags(run.run_id), "mlflow.runName": begun.name}
        connection.executemany("INSERT INTO tags VALUES (?, ?, ?)", [(name, text, key) for name, text in tags.items()])
        connection.executemany(
            "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES (?, ?, ?, ?, ?, 0)",
            [(name, value, at, key, step) for name, value, at, step in points],
        )
        connection.executemany(
            "INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid) VALUES (?, ?, ?, ?, 0, ?)",
            [(*last, key) for last in {point[0]: point for point in points}.values()],
        )

    def newest(self, count: int) -> int:
        """The newest runs; how many were found."""
        return len(self._search("", count))

    def below(self, metric: str, limit: float, count: int) -> int:
        """The newest runs whose last value of a metric is below a limit; how many were found."""
        return len(self._search(f"metrics.{metric} < {limit}", count))

    def everything(self) -> int:
        """All runs, page by page; how many were found."""
        found, token = 0, None
        while True:
            page = self._client.search_runs(
                [self._experiment], "", max_results=_PAGE, order_by=_NEWEST, page_token=token
            )
            found, token = found + len(page), page.token
            if not token:
                return found

    def history(self, metric: str) -> int:
        """All values of a metric of the run that was added last; how many there are."""
        return len(self._client.get_metric_history(self._last_run, metric))

    def _search(self, condition: str, count: int) -> list[Any]:
        found: list[Any] = self._client.search_runs([self._experiment], condition, max_results=count, order_by=_NEWEST)
        return found


class _Begun(msgspec.Struct, frozen=True):
    """What `meta.json` says about a run: its name, its project, and when it began, in milliseconds."""

    name: str
    project: str
    at: int

    @classmethod
    def read(cls, root: Path, run: StoredRun) -> _Begun:
        meta = json.loads((root / run.key / "meta.json").read_bytes())
        return cls(meta["name"], meta["project"], int(meta["created_at"] * 1000))

    def tags(self, run_id: str) -> dict[str, str]:
        return {"project": self.project, "run_id": run_id}


def _points(root: Path, run: StoredRun) -> Iterator[tuple[str, float, int, int]]:
    """Metric, value, time in milliseconds and step, in the order of the file."""
    for line in (root / run.key / "events.jsonl").read_bytes().splitlines():
        event = msgspec.json.decode(line)
        if event["type"] == "metrics":
            data = event["data"]
            step, at = data.pop("global_step"), int(data.pop("time") * 1000)
            for name, value in data.items():
                yield name, value, at, step


def _state(run: StoredRun) -> str:
    return _STATES.get(run.status, "FINISHED")
