"""Runicorn's `artifacts` plugin: versioned models, datasets and files, and which runs made and used them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from runicorn.plugin import Projection, hookimpl

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler


@hookimpl
def runicorn_projections() -> Sequence[Projection]:
    from runicorn_artifacts.run_artifacts import RunArtifacts

    return [RunArtifacts()]


@hookimpl
def runicorn_routes() -> Sequence[ControllerRouterHandler]:
    from runicorn_artifacts.routes import list_run_artifacts

    return [list_run_artifacts]


@hookimpl
def runicorn_rate_limits() -> Mapping[str, int]:
    return {"GET /api/runs/{run_id}/artifacts": 100}
