"""Runicorn's `runs` plugin: runs, their metrics and logs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from runicorn.plugin import RUN_EVENTS, Payload, Projection, Source, Store, hookimpl

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler


@hookimpl
def runicorn_event_types() -> Sequence[type[Payload]]:
    from runicorn_runs.events import STORE_EVENTS

    return (*RUN_EVENTS, *STORE_EVENTS)


@hookimpl
def runicorn_projections() -> Sequence[Projection]:
    from runicorn_runs.projections.metric_points import MetricPoints
    from runicorn_runs.projections.run_list import RunList
    from runicorn_runs.projections.run_values import RunValues

    return [RunList(), MetricPoints(), RunValues()]


@hookimpl
def runicorn_sources(root: Path) -> Sequence[Source]:
    from runicorn_runs.sources import RunFiles

    return [RunFiles()]


@hookimpl
def runicorn_routes() -> Sequence[ControllerRouterHandler]:
    from runicorn_runs.routes.logs import not_upgraded, run_log
    from runicorn_runs.routes.metrics import metrics_by_step, metrics_by_time, run_progress
    from runicorn_runs.routes.runs import check_status, get_run, list_runs

    return [list_runs, get_run, check_status, metrics_by_step, metrics_by_time, run_progress, run_log, not_upgraded]


@hookimpl
def runicorn_rate_limits() -> Mapping[str, int]:
    return {"GET /api/runs": 100, "GET /api/runs/{run_id}": 240, "GET /api/runs/{run_id}/metrics_step": 240}


@hookimpl
def runicorn_lifespan(store: Store) -> AbstractAsyncContextManager[None]:
    from runicorn_runs.liveness import watch_liveness

    return watch_liveness(store)
