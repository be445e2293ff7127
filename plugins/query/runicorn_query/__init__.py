"""Runicorn's `query` plugin: V2 queries over the runs of a store, full-text search, similar runs, commands for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from runicorn.plugin import Health, Store, hookimpl

if TYPE_CHECKING:
    import click
    from litestar.types import ControllerRouterHandler


@hookimpl
def runicorn_routes() -> Sequence[ControllerRouterHandler]:
    from runicorn_query.routes.analytics import overview, performance_trends, projects, storage_health, summary
    from runicorn_query.routes.experiments import (
        batch_delete,
        get_experiment,
        get_experiment_so_named,
        list_experiments,
    )
    from runicorn_query.routes.metrics import compare_metrics, fast_metrics
    from runicorn_query.search.routes import search
    from runicorn_query.similar.routes import similar_experiments

    return [
        list_experiments,
        get_experiment,
        get_experiment_so_named,
        batch_delete,
        fast_metrics,
        compare_metrics,
        summary,
        overview,
        projects,
        performance_trends,
        storage_health,
        search,
        similar_experiments,
    ]


@hookimpl
def runicorn_rate_limits() -> Mapping[str, int]:
    return {
        "GET /api/v2/experiments": 100,
        "GET /api/v2/experiments/{exp_id}": 200,
        "GET /api/v2/experiments/{exp_id}/metrics/fast": 100,
        "POST /api/v2/metrics/compare": 100,
        "GET /api/v2/experiments/batch-delete": 200,
        "POST /api/v2/experiments/batch-delete": 10,
        "GET /api/v2/search": 240,
    }


@hookimpl
def runicorn_commands() -> Sequence[click.Command]:
    from runicorn_query.cli.compare import compare
    from runicorn_query.cli.runs import runs
    from runicorn_query.cli.search import search
    from runicorn_query.cli.show import show

    return [runs, show, compare, search]


@hookimpl
def runicorn_lifespan(store: Store) -> AbstractAsyncContextManager[None]:
    from runicorn_query.indexes import kept_level

    return kept_level(store)


@hookimpl
def runicorn_health(store: Store) -> Health:
    from runicorn_query.search.log_index import LogIndex

    return store.own(LogIndex).health()
