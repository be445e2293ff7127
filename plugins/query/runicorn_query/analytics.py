"""Numbers about all runs: what there is, how it went, by project and over time.

Counts come from counters; sums are one pass over the narrow rows, trends one pass over one metric.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple, cast

import msgspec

from runicorn.plugin import FAILED, FINISHED, INTERRUPTED, RUNNING
from runicorn_query.language.sql import DURATION
from runicorn_query.limits import limited

if TYPE_CHECKING:
    import apsw


class StoreCounts(NamedTuple):
    """What there is."""

    total: int
    active: int
    """Not in the recycle bin."""
    running: int
    success_rate: float
    mean_duration_s: float
    metric_cells: int
    free_pages_pct: float
    page_hit_rate: float
    """How often SQLite found a page in memory, 0…1, on this connection."""


class ProjectStatistics(msgspec.Struct, frozen=True):
    """An item of `GET /api/v2/analytics/projects`."""

    project: str | None
    total_experiments: int
    running: int
    finished: int
    failed: int
    interrupted: int
    success_rate: float
    avg_duration_seconds: float
    best_metric_name: str | None
    best_metric_value: float | None
    best_experiment_id: str | None
    last_activity: float | None


class TrendPoint(msgspec.Struct, frozen=True):
    """The last finite value of a metric in one run."""

    experiment_id: str
    project: str | None
    name: str | None
    status: str
    created_at: float | None
    step: int
    value: float


def store_counts(db: apsw.Connection) -> StoreCounts:
    """All runs, the recycle bin included in `total` alone."""
    with limited(db):
        counts = cast(
            "list[tuple[int, str, int]]",
            db.execute("SELECT listed, status, sum(runs) FROM run_count GROUP BY listed, status").fetchall(),
        )
        cells, duration = db.execute(
            f"SELECT ifnull(sum(b.metric_count), 0), ifnull(avg({DURATION}), 0.0) FROM run_brief AS b WHERE b.listed"
        ).fetchall()[0]
    by_status = {status: runs for listed, status, runs in counts if listed}
    return StoreCounts(
        total=sum(runs for _, _, runs in counts),
        active=sum(by_status.values()),
        running=by_status.get(RUNNING, 0),
        success_rate=_success_rate(by_status.get(FINISHED, 0), by_status.get(FAILED, 0), by_status.get(INTERRUPTED, 0)),
        mean_duration_s=_finite(cast(float, duration)),
        metric_cells=cast(int, cells),
        free_pages_pct=_free_pages(db),
        page_hit_rate=_page_hits(db),
    )


PROJECTS = (
    "SELECT b.project, count(*), sum(b.status = 'running'), sum(b.status = 'finished'), sum(b.status = 'failed'),"
    f" sum(b.status = 'interrupted'), ifnull(avg({DURATION}), 0.0), max(b.updated)"
    " FROM run_brief AS b WHERE b.listed AND b.created >= :since GROUP BY b.project"
)
_HAS_BEST = (
    "b.listed AND b.created >= :since AND b.best_name IS NOT NULL AND b.best_value IS NOT NULL"
    " AND (ifnull(b.best_mode, 'max') = 'min') = {is_min}"
)
BEST = (  # of several runs with the best value the one with the least id: the order of rows differs after a rebuild
    "SELECT best.project, best.best_name, best.runs, best.value, min(b.run_id) FROM run_brief AS b CROSS JOIN ("
    "SELECT b.project, b.best_name, count(*) AS runs, {bound}(b.best_value) AS value FROM run_brief AS b"
    f" WHERE {_HAS_BEST} GROUP BY b.project, b.best_name) AS best"
    " ON best.project IS b.project AND best.best_name = b.best_name AND best.value = b.best_value"
    f" WHERE {_HAS_BEST} GROUP BY best.project, best.best_name"
)


def projects(db: apsw.Connection, since: float) -> list[ProjectStatistics]:
    """Of the runs created since then, the projects with the most runs first."""
    with limited(db):
        rows = db.execute(PROJECTS, {"since": since}).fetchall()
        best = _best_of_projects(db, since)
    found = [_project(row, best) for row in rows]
    return sorted(found, key=lambda item: (-item.total_experiments, item.project is not None, item.project or ""))


TREND = (
    "SELECT b.run_id, b.project, b.name, b.status, b.created, m.last_step, m.last"
    " FROM run_metric AS m CROSS JOIN run_brief AS b ON b.run = m.run"
    " WHERE m.key = (SELECT id FROM run_value_key WHERE source = 'm' AND name = :metric) AND m.last IS NOT NULL"
    " AND b.listed AND b.created >= :since AND (:project IS NULL OR b.project = :project)"
    " ORDER BY b.created, b.run_id"
)


def trend(db: apsw.Connection, metric: str, project: str | None, since: float) -> list[TrendPoint]:
    """The runs created since then that have the metric, the oldest first."""
    with limited(db):
        rows = db.execute(TREND, {"metric": metric, "project": project, "since": since}).fetchall()
    return [TrendPoint(*row[:5], int(cast(int, row[5])), cast(float, row[6])) for row in rows]  # type: ignore[arg-type]  # columns


def mean_and_deviation(values: list[float]) -> tuple[float, float]:
    """The mean and the population standard deviation; zeros for no values."""
    if not values:
        return 0.0, 0.0
    scale = max(map(abs, values)) or 1.0  # squares of large values would be infinite
    scaled = [value / scale for value in values]
    mean = math.fsum(scaled) / len(scaled)
    variance = math.fsum((value - mean) ** 2 for value in scaled) / len(scaled)
    return _finite(mean * scale), _finite(math.sqrt(variance) * scale)


def _best_of_projects(db: apsw.Connection, since: float) -> dict[str | None, tuple[str, float, str]]:
    """By project: its most frequent best metric, the best value, and the run that has it, by id the first of several."""
    found: dict[str | None, dict[str, list[tuple[int, bool, float, str]]]] = {}
    for is_min, bound in ((False, "max"), (True, "min")):
        statement = BEST.format(bound=bound, is_min=int(is_min))
        for project, name, count, value, run_id in db.execute(statement, {"since": since}):
            entry = (cast(int, count), is_min, cast(float, value), str(run_id))
            found.setdefault(cast("str | None", project), {}).setdefault(str(name), []).append(entry)
    best: dict[str | None, tuple[str, float, str]] = {}
    for project, names in found.items():
        name = min(names, key=lambda name: (-sum(entry[0] for entry in names[name]), name))
        _, _, value, run_id = max(names[name], key=lambda entry: (entry[0], not entry[1]))  # the mode of most runs
        best[project] = (name, value, run_id)
    return best


def _project(row: tuple[object, ...], best: dict[str | None, tuple[str, float, str]]) -> ProjectStatistics:
    project, total, running, finished, failed, interrupted, duration, activity = cast(
        "tuple[str | None, int, int, int, int, int, float, float | None]", row
    )
    name, value, run_id = best.get(project, (None, None, None))
    return ProjectStatistics(
        project, total, running, finished, failed, interrupted, _success_rate(finished, failed, interrupted),
        _finite(duration), name, value, run_id, activity,
    )  # fmt: skip


def _success_rate(finished: int, failed: int, interrupted: int) -> float:
    ended = finished + failed + interrupted
    return round(finished / ended, 4) if ended else 0.0


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def _free_pages(db: apsw.Connection) -> float:
    free, pages = (
        cast(int, db.execute(f"PRAGMA {name}").fetchall()[0][0]) for name in ("freelist_count", "page_count")
    )
    return round(100 * free / pages, 2) if pages else 0.0


def _page_hits(db: apsw.Connection) -> float:
    hits, misses = _cache_status(db)
    return round(hits / (hits + misses), 4) if hits + misses else 0.0


def _cache_status(db: apsw.Connection) -> Iterator[int]:
    import apsw

    return (db.status(code)[0] for code in (apsw.SQLITE_DBSTATUS_CACHE_HIT, apsw.SQLITE_DBSTATUS_CACHE_MISS))
