"""Runicorn's `query` plugin: V2 queries over the runs of a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from runicorn.plugin import hookimpl

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler


@hookimpl
def runicorn_routes() -> Sequence[ControllerRouterHandler]:
    from runicorn_query.routes.experiments import get_experiment, list_experiments
    from runicorn_query.routes.metrics import compare_metrics, fast_metrics

    return [list_experiments, get_experiment, fast_metrics, compare_metrics]


@hookimpl
def runicorn_rate_limits() -> Mapping[str, int]:
    return {
        "GET /api/v2/experiments": 100,
        "GET /api/v2/experiments/{exp_id}": 200,
        "GET /api/v2/experiments/{exp_id}/metrics/fast": 100,
        "POST /api/v2/metrics/compare": 100,
    }
