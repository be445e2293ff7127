"""The runs of a generated store in MLflow: its SQLite backend, written and asked through its own client.

MLflow is the extra `mlflow`; it is untyped, and never needed by anything else here. Asked in this process, without
`mlflow server` and HTTP before it, so that ratios are lower bounds.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.store import StoredRun

_ALL = 50_000  # what `search_runs` returns at most in one page
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
        uri = f"sqlite:///{database}"
        self._client: Any = tracking.MlflowClient(tracking_uri=uri, registry_uri=uri)
        self._experiment = self._client.create_experiment("runs", artifact_location=str(database.parent / "artifacts"))
        self._last_run = ""

    @staticmethod
    def version() -> str:
        """The installed version."""
        return str(importlib.import_module("mlflow").__version__)

    def add(self, root: Path, run: StoredRun) -> None:
        """Record a run: begin it, log all its metrics in one batch, end it."""
        directory = root / run.key
        meta = json.loads((directory / "meta.json").read_bytes())
        began = int(meta["created_at"] * 1000)
        tags = {"project": meta["project"], "run_id": run.run_id}
        created = self._client.create_run(self._experiment, start_time=began, run_name=meta["name"], tags=tags)
        self._last_run = created.info.run_id
        metrics = list(self._metrics((directory / "events.jsonl").read_bytes().splitlines()))
        self._client.log_batch(self._last_run, metrics=metrics)
        self._client.set_terminated(self._last_run, _STATES.get(run.status, "FINISHED"))

    def _metrics(self, lines: Iterable[bytes]) -> Iterable[Any]:
        for line in lines:
            event = msgspec.json.decode(line)
            if event["type"] == "metrics":
                data = event["data"]
                step = data.pop("global_step")
                at = int(data.pop("time") * 1000)
                for name, value in data.items():
                    yield self._entities.Metric(name, value, at, step)

    def newest(self, count: int) -> int:
        """The newest runs; how many were found."""
        return len(self._search("", count))

    def below(self, metric: str, limit: float, count: int) -> int:
        """The newest runs whose last value of a metric is below a limit; how many were found."""
        return len(self._search(f"metrics.{metric} < {limit}", count))

    def everything(self) -> int:
        """All runs; how many were found."""
        return len(self._search("", _ALL))

    def history(self, metric: str) -> int:
        """All values of a metric of the run that was added last; how many there are."""
        return len(self._client.get_metric_history(self._last_run, metric))

    def _search(self, condition: str, count: int) -> list[Any]:
        found: list[Any] = self._client.search_runs(
            [self._experiment], condition, max_results=count, order_by=["attributes.start_time DESC"]
        )
        return found
