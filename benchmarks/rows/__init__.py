"""The benchmarks by name, in the order of the table. Each measures, and yields the rows it has measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks.rows import (
    arrivals,
    artifacts,
    beside_mlflow,
    export,
    footprint,
    freshness,
    ingest,
    live,
    metrics,
    rebuild,
    recycling,
    remote,
    replay,
    runs,
    search,
    training,
    v2,
)
from benchmarks.table import Row
from benchmarks.workspace import Workspace

Benchmark = Callable[[Workspace], Iterator[Row]]

BENCHMARKS: dict[str, Benchmark] = {
    "v2-newest": v2.newest,
    "v2-search": v2.search,
    "v2-queries": v2.queries,
    "log-search": search.logs,
    "similar": search.similar,
    "runs": runs.list_of_runs,
    "arrivals": arrivals.health,
    "recycle-bin": recycling.a_hundred_runs,
    "metrics-step": metrics.metrics_by_step,
    "export-csv": export.csv_of_a_long_run,
    "metrics-fast": metrics.plots,
    "replay-long": replay.long_runs,
    "replay-short": replay.short_runs,
    "replay-served": rebuild.while_serving,
    "log": training.log_calls,
    "lifecycle": training.lifecycles,
    "fresh-reads": freshness.run_level_reads,
    "fresh-notices": freshness.commit_notices,
    "fresh-list": freshness.lists,
    "live-notices": live.notices,
    "log-lines": live.log_lines,
    "storage": footprint.storage,
    "memory": footprint.serve_memory,
    "start": footprint.warm_start,
    "artifacts": artifacts.saving,
    "lineage": artifacts.lineage,
    "remote": remote.mirror_and_push,
    "remote-health": remote.health,
    "ingest": ingest.requests_during_ingest,
}

OPTIONAL: dict[str, Benchmark] = {"mlflow": beside_mlflow.mlflow}
"""Comparisons with other trackers, by the extra that installs them. Run where `--with` names them."""
