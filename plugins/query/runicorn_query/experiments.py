"""What V2 says about a run; *experiment* is its word for one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import apsw
import msgspec

from runicorn.plugin import EVENTS_FILE, LOGS_FILE, OpenedStore, Store, stale_after_s
from runicorn_query.language.sql import DURATION

_RUN_DIR = ":root || '/' || r.key"
_LAST_ACTIVITY = (
    "max(ifnull(r.created, 0), ifnull(r.started, 0),"
    " ifnull((SELECT a.last_ts FROM stream AS s JOIN activity AS a ON a.stream_id = s.id WHERE s.name = r.key), 0))"
)
_STALE_SINCE = (
    "CASE WHEN r.status = 'running' AND r.listed"
    f" THEN (SELECT last FROM (SELECT {_LAST_ACTIVITY} AS last) WHERE last < :silent_since) END"
)
COLUMNS = (
    f"r.run_id, {_RUN_DIR}, r.created, r.status, r.pid, r.best_value, r.best_name, r.project, r.name,"
    f" {_RUN_DIR} || '/{LOGS_FILE}', {_RUN_DIR} || '/{EVENTS_FILE}', {_RUN_DIR} || '/{EVENTS_FILE}', r.created,"
    f" b.updated, r.started, r.ended, {DURATION}, r.best_step, r.best_mode, b.metric_count, r.description,"
    f" r.deleted_at, r.delete_reason, r.source, r.tags, {_STALE_SINCE}"
)
"""What `read_experiment` takes of `run r` and `run_brief b`, with the parameters of a `View`."""

_NO_TAGS = "[]"
_decode_tags = msgspec.json.Decoder(list[str]).decode


class View(NamedTuple):
    """From where runs are looked at, and when."""

    root: Path
    """The storage root, below which their directories are."""
    silent_since: float
    """A running run without any event since then, in Unix seconds, is stale."""

    @classmethod
    def of(cls, store: Store | OpenedStore) -> View:
        """As of now, or as of the moment that the store shows."""
        return cls(store.root, store.now() - stale_after_s())

    def parameters(self) -> dict[str, apsw.SQLiteValue]:
        """What `COLUMNS` refers to."""
        return {"root": str(self.root), "silent_since": self.silent_since}


class Experiment(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
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
    """When an event, the status, a deletion or a tag last changed the run."""
    started_at: float | None
    ended_at: float | None
    duration_seconds: float | None
    """Null while the run is going."""
    best_metric_step: int | None
    best_metric_mode: str | None
    metric_count: int
    """Cells (step, metric) that are numbers, NaN and infinities included."""
    tags: list[str]
    description: str | None
    deleted_at: float | None
    """Since when it is in the recycle bin; null if it is not."""
    delete_reason: str | None
    source: str | None = None
    """Of a run of another machine: `user@host:port`. Left out otherwise."""
    stale: bool = False
    """A running run that has said nothing for long. Left out otherwise."""
    last_activity: float | None = None
    """Of a stale run: when it was active last."""


class Facets(msgspec.Struct, frozen=True):
    """How many of the matching runs there are by status, project and tag; the most frequent first."""

    statuses: dict[str, int]
    projects: dict[str, int]
    """A run without a project is counted under the empty one."""
    tags: dict[str, int]


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
    next_cursor: str | None
    """For `cursor`: the page behind this one, also if runs were added meanwhile. Null at the end."""
    facets: Facets | msgspec.UnsetType = msgspec.UNSET
    """With `facets=true`."""


class StepRange(msgspec.Struct, frozen=True):
    """The first and the last step."""

    min: int
    max: int


class MetricsSummary(msgspec.Struct, frozen=True):
    """What was logged."""

    total_data_points: int
    """Steps with a number in any metric."""
    available_metrics: list[str]
    step_range: StepRange | None


class ExperimentDetail(msgspec.Struct, frozen=True):
    """The answer of `GET /api/v2/experiments/{exp_id}`."""

    experiment: Experiment
    metrics_summary: MetricsSummary
    environment_available: bool
    file_count: int
    """Regular files below the run's directory, lock files left out."""


def read_experiment(row: Sequence[apsw.SQLiteValue]) -> Experiment:
    """A row that begins with `COLUMNS` as a struct."""
    tags = row[24]
    labels = [] if tags == _NO_TAGS else _decode_tags(tags)  # type: ignore[arg-type]  # JSON text
    silent = row[25]
    return Experiment(*row[:20], labels, *row[20:24], silent is not None, silent)  # type: ignore[arg-type]  # the types of the columns
