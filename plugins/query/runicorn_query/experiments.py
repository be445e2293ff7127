"""What V2 says about a run; *experiment* is its word for one.

`metric_count`, `description` and the summary of the metrics are null, and `tags` empty: no read model holds them.
"""

from __future__ import annotations

from collections.abc import Sequence

import apsw
import msgspec

from runicorn.plugin import EVENTS_FILE, LOGS_FILE

LAST_CHANGE = (
    "nullif(max(ifnull(created, 0), ifnull(started, 0), ifnull(ended, 0), ifnull(deleted_at, 0),"
    " ifnull((SELECT max(last_ts) FROM activity WHERE activity.key = run.key), 0)), 0)"
)
DURATION = "CASE WHEN status <> 'running' THEN ended - started END"

_RUN_DIR = ":root || '/' || run.key"
COLUMNS = (
    f"run_id, {_RUN_DIR}, created, status, pid, best_value, best_name, project, name, {_RUN_DIR} || '/{LOGS_FILE}',"
    f" {_RUN_DIR} || '/{EVENTS_FILE}', {_RUN_DIR} || '/{EVENTS_FILE}', created, {LAST_CHANGE}, started, ended, {DURATION},"
    " best_step, best_mode, deleted_at, delete_reason"
)
"""What `read_experiment` takes; `:root` is the storage root."""

_DELETED = 2  # columns about the recycle bin, the last ones


class Experiment(msgspec.Struct, frozen=True):
    """An item of `GET /api/v2/experiments`. Times are Unix seconds."""

    run_id: str = msgspec.field(name="id")
    run_dir: str
    created_time: float | None
    status: str
    pid: int | None
    best_metric_value: float | None
    best_metric_name: str | None
    project: str | None
    name: str | None
    logs: str
    metrics: str
    metrics_step: str
    created_at: float | None
    """The same as `created_time`."""
    updated_at: float | None
    """When an event, the status or a deletion last changed the run."""
    started_at: float | None
    ended_at: float | None
    duration_seconds: float | None
    """Null while the run is going."""
    best_metric_step: int | None
    best_metric_mode: str | None
    metric_count: int | None
    tags: list[str]
    description: str | None
    deleted_at: float | None
    """Since when it is in the recycle bin; null if it is not."""
    delete_reason: str | None


class ExperimentPage(msgspec.Struct, frozen=True):
    """The answer of `GET /api/v2/experiments`."""

    experiments: list[Experiment]
    total: int
    """Of all pages."""
    page: int
    per_page: int
    has_next: bool
    has_prev: bool
    query_time_ms: float


class StepRange(msgspec.Struct, frozen=True):
    """The first and the last step."""

    min: int
    max: int


class MetricsSummary(msgspec.Struct, frozen=True):
    """What was logged."""

    total_data_points: int | None = None
    available_metrics: list[str] = []
    step_range: StepRange | None = None


class ExperimentDetail(msgspec.Struct, frozen=True):
    """The answer of `GET /api/v2/experiments/{exp_id}`."""

    experiment: Experiment
    metrics_summary: MetricsSummary
    environment_available: bool
    file_count: int
    """Regular files below the run's directory, lock files left out."""


def read_experiment(row: Sequence[apsw.SQLiteValue]) -> Experiment:
    """A row of `COLUMNS` as a struct."""
    return Experiment(*row[:-_DELETED], None, [], None, *row[-_DELETED:])  # type: ignore[arg-type]
