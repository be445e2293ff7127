"""The results of the runs that made an artifact's versions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import apsw
import msgspec
from litestar import MediaType, Response, get
from litestar.params import FromPath, FromQuery

from runicorn.plugin import Store, dump_json, parse_json
from runicorn_artifacts import queries
from runicorn_artifacts.errors import NoVersions
from runicorn_artifacts.json_values import finite
from runicorn_artifacts.routes.resolving import PLUGIN, find_artifact, version_of

Summary = dict[str, Any]


class TrainingMetrics(msgspec.Struct, frozen=True):
    """The run that made a version, and its summary."""

    run_id: str
    run_name: str
    project: str
    metrics: dict[str, Any] | msgspec.Raw
    created_at: float | None
    duration_seconds: float | None
    status: str


class HistoryItem(msgspec.Struct, frozen=True):
    """One version, and numbers of the summary of the run that made it."""

    version: int
    created_at: float
    run_id: str
    status: str
    metrics: dict[str, Any] | msgspec.Raw


@get("/api/artifacts/{name:str}/training-metrics", operation_id="artifact_training_metrics")
async def artifact_training_metrics(
    name: FromPath[str],
    store: Store,
    version: FromQuery[int | None] = None,
    type: FromQuery[str | None] = None,
) -> Response[TrainingMetrics | None]:
    """The results of the run that made a version (without one: the latest); null if there is no such run."""
    artifact = await find_artifact(store, name, type)
    if version is None:
        version = store.model(PLUGIN).query(queries.latest_version, artifact.key)
        if version is None:
            raise NoVersions(artifact.name)
    row = version_of(store, artifact, version)
    runs = await _runs_of(store, [row])
    found = _training_metrics(*runs[row.created_by_run]) if row.created_by_run in runs else None
    # Encoded here: the framework's answer to None would be empty.
    return cast("Response[TrainingMetrics | None]", Response(msgspec.json.encode(found), media_type=MediaType.JSON))


@get("/api/artifacts/{name:str}/performance-history", operation_id="artifact_performance_history")
async def artifact_performance_history(
    name: FromPath[str],
    store: Store,
    type: FromQuery[str | None] = None,
    metric_name: FromQuery[str | None] = None,
    include_deleted: FromQuery[bool] = False,
) -> list[HistoryItem]:
    """The results of the runs that made the versions of an artifact, by version."""
    artifact = await find_artifact(store, name, type)
    rows = await store.model(PLUGIN).run(queries.versions, artifact.key)
    shown = [row for row in rows if include_deleted or not row.is_deleted]
    runs = await _runs_of(store, shown)
    return [
        HistoryItem(
            row.version,
            row.created_at,
            row.created_by_run,
            found.status,
            msgspec.Raw(dump_json(_chosen(summary, metric_name))),
        )
        for row in shown
        if row.created_by_run in runs
        for found, summary in [runs[row.created_by_run]]
    ]


class _Run(msgspec.Struct, frozen=True):
    """What the read model of runs says of a run."""

    run_id: str
    name: str | None
    project: str | None
    created_at: float | None
    started_at: float | None
    ended_at: float | None
    status: str


async def _runs_of(store: Store, rows: Iterable[queries.ListedVersion]) -> dict[str, tuple[_Run, Summary]]:
    """The producing runs that can be asked, by id, with their summaries."""
    run_ids = {row.created_by_run for row in rows if row.has_metadata and row.created_by_run}
    return await store.model("runs").run(_query_runs, sorted(run_ids)) if run_ids else {}


def _query_runs(db: apsw.Connection, run_ids: list[str]) -> dict[str, tuple[_Run, Summary]]:
    found: dict[str, tuple[_Run, Summary]] = {}
    for run_id in run_ids:
        rows = db.execute(
            "SELECT run.run_id, name, project, created, started, ended, status, summary FROM run_named"
            " JOIN run USING (key) WHERE run_named.run_id = ? AND run_named.listed",
            (run_id,),
        ).fetchall()
        for *columns, summary in cast(list[tuple[Any, ...]], rows):
            found[run_id] = _Run(*columns), cast(Summary, finite(parse_json(summary)))
    return found


def _training_metrics(run: _Run, summary: Summary) -> TrainingMetrics:
    known = run.started_at is not None and run.ended_at is not None
    return TrainingMetrics(
        run_id=run.run_id,
        run_name=run.name or "default",
        project=run.project or "default",
        metrics=msgspec.Raw(dump_json(summary)),
        created_at=run.created_at,
        duration_seconds=cast(float, run.ended_at) - cast(float, run.started_at) if known else None,
        status=run.status,
    )


def _chosen(summary: Summary, metric_name: str | None) -> Summary:
    if metric_name is not None:
        return {metric_name: summary[metric_name]} if metric_name in summary else {}
    return {key: value for key, value in summary.items() if isinstance(value, (int, float))}
