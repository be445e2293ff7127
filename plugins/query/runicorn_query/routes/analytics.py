"""`GET /api/v2/analytics/…`."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Annotated, NamedTuple, cast

import apsw
import msgspec
from litestar import MediaType, Response, get
from litestar.params import FromQuery, QueryParameter

from runicorn.plugin import Store
from runicorn_query import analytics, queries
from runicorn_query.analytics import ProjectStatistics, StoreCounts, TrendPoint
from runicorn_query.experiments import View
from runicorn_query.filters import Filter
from runicorn_query.ordering import Order
from runicorn_query.timing import QueryTimes

_DAY_S = 86400.0
_MIB = 1 << 20
_BACKEND = "SQLiteStorageBackend"
_SLOW_MS = 100.0
_LARGE_MIB = 1000.0
_LATE_S = 60.0
_GRADES = ((95.0, "excellent"), (80.0, "good"), (60.0, "fair"), (0.0, "poor"))

Days = Annotated[int, QueryParameter(ge=1, le=3650)]


class Performance(msgspec.Struct, frozen=True):
    """Of the last 1000 queries."""

    avg_query_time_ms: float
    cache_hit_rate: float
    """How often a page of the database was found in memory, 0…1."""


class Overview(msgspec.Struct, frozen=True):
    """The numbers at a glance."""

    total_experiments: int
    active_experiments: int
    running_experiments: int
    success_rate: float
    avg_experiment_duration: float
    storage_size_mb: float
    query_performance: Performance


class StorageStatistics(msgspec.Struct, frozen=True):
    """Runs, and the files of the read models. Sizes in MiB unless the name says bytes."""

    total_experiments: int
    active_experiments: int
    deleted_experiments: int
    total_metrics_points: int
    storage_size_bytes: int
    avg_query_time_ms: float
    cache_hit_rate: float
    db_size_mb: float
    db_fragmentation_pct: float
    updated_at: float | None


class StorageInfo(msgspec.Struct, frozen=True):
    """What answers come from."""

    storage_type: str
    backend_type: str
    statistics: StorageStatistics
    performance: Performance


class Summary(msgspec.Struct, frozen=True):
    """The answer of `GET /api/v2/analytics/summary` and `/overview`."""

    overview: Overview
    storage_info: StorageInfo
    generated_at: float


class Projects(msgspec.Struct, frozen=True):
    """The answer of `GET /api/v2/analytics/projects`."""

    projects: list[ProjectStatistics]
    analysis_period_days: int
    generated_at: float


class TrendStatistics(msgspec.Struct, frozen=True):
    """Over all entries; zeros if there are none."""

    total_experiments: int
    mean_value: float
    std_dev: float
    min_value: float
    max_value: float


class Trends(msgspec.Struct, frozen=True):
    """The answer of `GET /api/v2/analytics/performance-trends`."""

    metric_name: str
    project: str | None
    trend_data: list[TrendPoint]
    statistics: TrendStatistics
    analysis_period_days: int
    generated_at: float


class TestedPerformance(msgspec.Struct, frozen=True):
    """Of one list page just now, and of the last 1000 queries."""

    test_query_time_ms: float
    avg_query_time_ms: float
    cache_hit_rate: float


class TestedStorage(msgspec.Struct, frozen=True):
    """What was tested."""

    backend_type: str
    storage_type: str
    db_size_mb: float
    total_experiments: int


class StorageHealth(msgspec.Struct, frozen=True):
    """The answer of `GET /api/v2/analytics/health`."""

    health_status: str
    health_score: float
    issues: list[str]
    performance: TestedPerformance
    storage: TestedStorage
    checked_at: float


@get("/api/v2/analytics/summary", operation_id="analytics_summary")
async def summary(store: Store) -> Summary:
    """How many runs there are, how they went, and what the read models take."""
    return await _summary(store)


@get("/api/v2/analytics/overview", operation_id="analytics_overview")
async def overview(store: Store) -> Summary:
    """The same as the summary."""
    return await _summary(store)


async def _summary(store: Store) -> Summary:
    counts = await store.model("runs").run(analytics.store_counts)
    files = await asyncio.to_thread(_model_files, store.state_dir)
    performance = Performance(store.own(QueryTimes).mean_ms, counts.page_hit_rate)
    size = round(files.size / _MIB, 4)
    return Summary(
        Overview(
            counts.total,
            counts.active,
            counts.running,
            counts.success_rate,
            counts.mean_duration_s,
            size,
            performance,
        ),
        StorageInfo(
            _storage_type(counts),
            _BACKEND,
            StorageStatistics(
                total_experiments=counts.total,
                active_experiments=counts.active,
                deleted_experiments=counts.total - counts.active,
                total_metrics_points=counts.metric_cells,
                storage_size_bytes=files.size,
                avg_query_time_ms=performance.avg_query_time_ms,
                cache_hit_rate=performance.cache_hit_rate,
                db_size_mb=size,
                db_fragmentation_pct=counts.free_pages_pct,
                updated_at=files.changed_at,
            ),
            performance,
        ),
        time.time(),
    )


@get("/api/v2/analytics/projects", operation_id="analytics_projects")
async def projects(store: Store, days: Days = 30) -> Projects:
    """How the runs of the last days went, by project."""
    now = time.time()
    return Projects(await store.model("runs").run(analytics.projects, now - days * _DAY_S), days, now)


@get("/api/v2/analytics/performance-trends", operation_id="performance_trends")
async def performance_trends(
    store: Store,
    metric_name: FromQuery[str],
    project: FromQuery[str | None] = None,
    days: Days = 30,
) -> Response[Trends]:
    """The last value of a metric in every run of the last days."""
    content = await store.model("runs").run(_encoded_trends, metric_name, project, days, time.time())
    return Response(cast(Trends, content), media_type=MediaType.JSON)


def _encoded_trends(db: apsw.Connection, metric: str, project: str | None, days: int, now: float) -> bytes:
    """The whole answer: it has a point for every run, too many to summarise and encode on the event loop."""
    points = analytics.trend(db, metric, project, now - days * _DAY_S)
    values = [point.value for point in points]
    mean, deviation = analytics.mean_and_deviation(values)
    statistics = TrendStatistics(len(values), mean, deviation, min(values, default=0.0), max(values, default=0.0))
    return msgspec.json.encode(Trends(metric, project, points, statistics, days, now))


@get("/api/v2/analytics/health", operation_id="analytics_health")
async def storage_health(store: Store) -> StorageHealth:
    """Whether queries are quick, the database is small enough, and the read models are up to date."""
    model = store.model("runs")
    started = time.perf_counter()
    model.query(queries.newest, View.of(store), queries.Wanted(Filter(), Order(), limit=50))
    took = round(1000 * (time.perf_counter() - started), 2)
    counts = await model.run(analytics.store_counts)
    files = await asyncio.to_thread(_model_files, store.state_dir)
    status = await store.projector_status()
    size = round(files.size / _MIB, 4)
    health, score, issues = grade(took, size, 0.0 if status is None or not status.behind_streams else status.lag_s)
    return StorageHealth(
        health_status=health,
        health_score=score,
        issues=issues,
        performance=TestedPerformance(took, store.own(QueryTimes).mean_ms, counts.page_hit_rate),
        storage=TestedStorage(_BACKEND, _storage_type(counts), size, counts.total),
        checked_at=time.time(),
    )


def grade(took_ms: float, size_mib: float, lag_s: float) -> tuple[str, float, list[str]]:
    """Grade, score and what is wrong: how long a page of the list took, and how far the read models are behind."""
    score = 100.0
    issues: list[str] = []
    if took_ms > _SLOW_MS:
        score -= 20
        issues.append(f"Slow queries detected: {took_ms:.1f}ms")
    if size_mib > _LARGE_MIB:
        score -= 10
        issues.append(f"Large database size: {size_mib:.1f}MB")
    if lag_s > _LATE_S:
        score -= 20
        issues.append(f"Read model is behind: {lag_s:.0f}s")
    return next(name for least, name in _GRADES if score >= least), score, issues


class _Files(NamedTuple):
    size: int
    changed_at: float | None


def _model_files(state_dir: Path) -> _Files:
    """Bytes of all read models, with what is not yet written back, and when one was written to last."""
    size, changed = 0, 0.0
    with os.scandir(state_dir) as entries:
        for entry in entries:
            if entry.name.endswith((".db", ".db-wal")):
                try:
                    found = entry.stat()
                except FileNotFoundError:
                    continue
                size += found.st_size
                changed = max(changed, found.st_mtime)
    return _Files(size, changed or None)


def _storage_type(counts: StoreCounts) -> str:
    return "hybrid" if counts.total else "empty"
