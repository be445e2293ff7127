"""Runicorn's `runs` plugin: runs, their metrics and logs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from runicorn.plugin import RUN_EVENTS, Payload, Projection, Source, Store, Subjects, hookimpl

if TYPE_CHECKING:
    import click
    from litestar.types import ControllerRouterHandler


@hookimpl
def runicorn_event_types() -> Sequence[type[Payload]]:
    from runicorn_runs.events import STORE_EVENTS

    return (*RUN_EVENTS, *STORE_EVENTS)


@hookimpl
def runicorn_projections() -> Sequence[Projection]:
    from runicorn_runs.history.labels import RUN_HISTORY
    from runicorn_runs.projections.metric_points import MetricPoints
    from runicorn_runs.projections.run_images import RunImages
    from runicorn_runs.projections.run_list import RunList
    from runicorn_runs.projections.run_values import RunValues

    return [RunList(), MetricPoints(), RunImages(), RunValues(), RUN_HISTORY]


@hookimpl
def runicorn_sources(root: Path) -> Sequence[Source]:
    from runicorn_runs.sources import RunFiles

    return [RunFiles()]


@hookimpl
def runicorn_routes() -> Sequence[ControllerRouterHandler]:
    from runicorn_runs.routes import (
        archive,
        environment,
        experiments,
        export,
        history,
        live,
        logs,
        media,
        metrics,
        projects,
        recycle_bin,
        runs,
    )

    return [
        *(runs.list_runs, runs.get_run, runs.check_status),
        *(recycle_bin.soft_delete_runs, recycle_bin.list_recycle_bin, recycle_bin.restore_runs, recycle_bin.empty_bin),
        *(projects.list_projects, projects.list_names, projects.list_runs_of_name),
        *(experiments.tag_experiment, experiments.search_experiments, experiments.delete_experiments),
        *(experiments.annotate_experiment, history.experiment_history),
        *(metrics.metrics_by_step, metrics.metrics_by_time, metrics.run_progress),
        *(logs.run_log, logs.not_upgraded),
        *(live.event_stream, live.event_socket, live.events_not_upgraded),
        *(media.list_media, media.media_file, environment.run_environment),
        *(export.export_csv, export.export_report, archive.import_runs),
    ]


@hookimpl
def runicorn_rate_limits() -> Mapping[str, int]:
    return {
        "GET /api/runs": 100,
        "GET /api/runs/{run_id}": 240,
        "GET /api/runs/{run_id}/metrics_step": 240,
        "GET /api/runs/{run_id}/media/{path}": 1200,  # a page of images asks for each of them
        "GET /api/v2/experiments/{exp_id}/history": 200,
        "POST /api/runs/soft-delete": 20,
        "POST /api/recycle-bin/empty": 5,
        "DELETE /api/experiments/delete": 10,
    }


@hookimpl
def runicorn_commands() -> Sequence[click.Command]:
    from runicorn_runs.cli import manage

    return [manage]


@hookimpl
def runicorn_subjects() -> Sequence[Subjects]:
    from runicorn_runs.history.subject import Runs

    return [Runs()]


@hookimpl
def runicorn_lifespan(store: Store) -> AbstractAsyncContextManager[None]:
    from runicorn_runs.background import work_in_background

    return work_in_background(store)
