"""Runicorn's `artifacts` plugin: versioned models, datasets and files, and which runs made and used them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from runicorn.plugin import Payload, Projection, hookimpl

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler


@hookimpl
def runicorn_event_types() -> Sequence[type[Payload]]:
    from runicorn_artifacts.events import ARTIFACT_EVENTS, OBSERVED_EVENTS

    return [*ARTIFACT_EVENTS, *OBSERVED_EVENTS]


@hookimpl
def runicorn_projections() -> Sequence[Projection]:
    from runicorn_artifacts.projections.artifact_versions import ArtifactVersions
    from runicorn_artifacts.projections.run_artifacts import RunArtifacts

    return [ArtifactVersions(), RunArtifacts()]


@hookimpl
def runicorn_routes() -> Sequence[ControllerRouterHandler]:
    from runicorn_artifacts.routes import list_run_artifacts

    return [list_run_artifacts]


@hookimpl
def runicorn_rate_limits() -> Mapping[str, int]:
    return {"GET /api/runs/{run_id}/artifacts": 100}
