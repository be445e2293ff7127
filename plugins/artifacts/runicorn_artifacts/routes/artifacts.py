"""`GET /api/artifacts…`: the list, one artifact's versions, one version."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.params import FromPath, FromQuery

from runicorn.plugin import Serving, Store, conditional, strong_etag
from runicorn_artifacts import queries
from runicorn_artifacts.answers import (
    Statistics,
    StatisticsElsewhere,
    VersionDetail,
    VersionFiles,
    VersionItem,
    version_detail,
    version_files,
    version_item,
)
from runicorn_artifacts.errors import IllegalType, MetadataNotFound
from runicorn_artifacts.folder import METADATA_FILE, ArtifactFolder, Status
from runicorn_artifacts.naming import is_legal
from runicorn_artifacts.pool_size import PoolSize
from runicorn_artifacts.queries import Version
from runicorn_artifacts.routes.elsewhere import elsewhere
from runicorn_artifacts.routes.resolving import PLUGIN, find_artifact, find_version, folder_of
from runicorn_artifacts.soundness import KnownSoundness, status_of
from runicorn_artifacts.statistics import summarize


@get("/api/artifacts", operation_id="list_artifacts")
async def list_artifacts(
    request: Request[Any, Any, Any],
    store: Store,
    serving: Serving,
    type: FromQuery[str | None] = None,
    include_deleted: FromQuery[bool] = False,
) -> Response[list[queries.ArtifactItem]]:
    """All artifacts, the one that was changed last first."""
    if type is not None and not is_legal(type):
        raise IllegalType(type)
    other = elsewhere(serving)
    if other is not None:
        etag = strong_etag("elsewhere", other.copies.revision)
        return await conditional(request, etag, lambda: asyncio.to_thread(other.artifacts, type, include_deleted))
    model = store.model(PLUGIN)
    etag = strong_etag(*model.counter("artifacts"))
    return await conditional(request, etag, lambda: model.run(queries.artifact_list, type, include_deleted))


@get("/api/artifacts/stats", operation_id="artifact_statistics")
async def artifact_statistics(
    store: Store, serving: Serving, include_deleted: FromQuery[bool] = False
) -> Statistics | StatisticsElsewhere:
    """How much there is, and how much it saves to keep each content once."""
    other = elsewhere(serving)
    if other is not None:
        return await asyncio.to_thread(other.statistics, include_deleted)
    sizes = await store.model(PLUGIN).run(queries.sizes)
    pool_bytes = await asyncio.to_thread(store.own(PoolSize).bytes)
    return msgspec.convert(summarize(sizes, pool_bytes, True, include_deleted), Statistics)


@get("/api/artifacts/{name:str}/versions", operation_id="list_artifact_versions")
async def list_artifact_versions(
    name: FromPath[str],
    store: Store,
    serving: Serving,
    type: FromQuery[str | None] = None,
    include_deleted: FromQuery[bool] = False,
) -> list[VersionItem]:
    """The versions of an artifact, ascending."""
    other = elsewhere(serving)
    if other is not None:
        return await asyncio.to_thread(other.versions, name, type, include_deleted)
    artifact = await find_artifact(store, name, type)
    model = store.model(PLUGIN)
    found, aliases = await model.run(queries.versions_and_aliases, artifact.key)
    rows = [row for row in found if include_deleted or not row.is_deleted]
    folder = folder_of(store.root, artifact)
    statuses = await asyncio.to_thread(store.own(KnownSoundness).statuses, folder, rows)
    return [version_item(row, status, aliases.get(row.version, [])) for row, status in zip(rows, statuses, strict=True)]


@get("/api/artifacts/{name:str}/{version:str}", operation_id="get_artifact_version")
async def get_artifact_version(
    name: FromPath[str], version: FromPath[str], store: Store, serving: Serving, type: FromQuery[str | None] = None
) -> VersionDetail:
    """One version, `v3` for example; a deleted one, too."""
    other = elsewhere(serving)
    if other is not None:
        return await asyncio.to_thread(other.version, name, version, type)
    artifact, row = await find_version(store, name, version, type)
    folder = folder_of(store.root, artifact)
    aliases = store.model(PLUGIN).query(queries.aliases_by_version, artifact.key)
    status = await asyncio.to_thread(_status_with_metadata, folder, row)
    return version_detail(artifact.name, artifact.type, row, status, aliases.get(row.version, []))


@get("/api/artifacts/{name:str}/{version:str}/files", operation_id="list_artifact_files")
async def list_artifact_files(
    name: FromPath[str], version: FromPath[str], store: Store, serving: Serving, type: FromQuery[str | None] = None
) -> VersionFiles:
    """The content of a version, with the places of its files on this machine."""
    other = elsewhere(serving)
    if other is not None:
        return await asyncio.to_thread(other.files, name, version, type)
    artifact, row = await find_version(store, name, version, type)
    return await asyncio.to_thread(version_files, folder_of(store.root, artifact), row.version)


def _status_with_metadata(folder: ArtifactFolder, row: Version) -> Status:
    if not os.path.lexists(folder.version_path(row.version) / METADATA_FILE):
        raise MetadataNotFound(folder.name, row.version)
    return status_of(folder, row)
