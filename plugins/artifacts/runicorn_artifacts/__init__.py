"""Runicorn's `artifacts` plugin: versioned models, datasets and files, and which runs made and used them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from runicorn.plugin import ArtifactSource, Payload, Projection, Store, Subjects, hookimpl

if TYPE_CHECKING:
    import click
    from litestar.types import ControllerRouterHandler


@hookimpl
def runicorn_event_types() -> Sequence[type[Payload]]:
    from runicorn_artifacts.events import ARTIFACT_EVENTS, OBSERVED_EVENTS

    return [*ARTIFACT_EVENTS, *OBSERVED_EVENTS]


@hookimpl
def runicorn_projections() -> Sequence[Projection]:
    from runicorn_artifacts.history.labels import ARTIFACT_HISTORY
    from runicorn_artifacts.projections.artifact_versions import ArtifactVersions
    from runicorn_artifacts.projections.run_artifacts import RunArtifacts

    return [ArtifactVersions(), RunArtifacts(), ARTIFACT_HISTORY]


@hookimpl
def runicorn_sources(root: Path) -> Sequence[ArtifactSource]:
    from runicorn_artifacts.sources import ArtifactFiles

    return [ArtifactFiles()]


@hookimpl
def runicorn_routes() -> Sequence[ControllerRouterHandler]:
    from runicorn_artifacts.routes import (
        artifacts,
        changes,
        comparing,
        content,
        form_upload,
        history,
        lifecycle,
        lineage,
        reach,
        runs,
        training,
        uploads,
    )

    return [
        artifacts.list_artifacts,
        artifacts.artifact_statistics,
        artifacts.list_artifact_versions,
        artifacts.get_artifact_version,
        artifacts.list_artifact_files,
        comparing.artifact_diff,
        history.artifact_history,
        content.artifact_file,
        content.artifact_zip,
        lineage.artifact_lineage,
        reach.artifact_impact,
        reach.artifact_provenance,
        changes.delete_artifact_version,
        changes.restore_artifact_version,
        changes.set_artifact_alias,
        changes.remove_artifact_alias,
        runs.list_run_artifacts,
        training.artifact_training_metrics,
        training.artifact_performance_history,
        lifecycle.promote_artifact_version,
        lifecycle.evaluate_artifact_version,
        lifecycle.list_artifact_evaluations,
        form_upload.save_artifact_version,
        uploads.begin_artifact_upload,
        uploads.get_artifact_upload,
        uploads.send_artifact_content,
        uploads.commit_artifact_upload,
        uploads.abandon_artifact_upload,
    ]


@hookimpl
def runicorn_rate_limits() -> Mapping[str, int]:
    return {
        "GET /api/artifacts": 100,
        "GET /api/artifacts/stats": 100,
        "GET /api/artifacts/{name}/versions": 100,
        "GET /api/artifacts/{name}/history": 100,
        "GET /api/artifacts/{name}/{version}": 100,
        "GET /api/artifacts/{name}/{version}/files": 100,
        "GET /api/artifacts/{name}/{version}/lineage": 100,
        "GET /api/runs/{run_id}/artifacts": 100,
        "POST /api/artifacts/{name}/versions": 600,
        "POST /api/artifacts/{name}/uploads": 600,
        "GET /api/artifacts/{name}/uploads/{upload_id}": 600,
        "PUT /api/artifacts/{name}/uploads/{upload_id}/contents/{digest}": 30_000,
        "POST /api/artifacts/{name}/uploads/{upload_id}/commit": 600,
    }


@hookimpl
def runicorn_subjects() -> Sequence[Subjects]:
    from runicorn_artifacts.history.subject import Artifacts

    return [Artifacts()]


@hookimpl
def runicorn_lifespan(store: Store) -> AbstractAsyncContextManager[None]:
    from runicorn_artifacts.cleaning import staging_kept_clean

    return staging_kept_clean(store)


@hookimpl
def runicorn_commands() -> Sequence[click.Command]:
    from runicorn_artifacts.cli import artifacts

    return [artifacts]
