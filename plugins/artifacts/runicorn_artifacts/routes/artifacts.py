"""`GET /api/artifacts…`: the list, one artifact's versions, one version."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.params import FromPath, FromQuery

from runicorn.plugin import Store, conditional, strong_etag
from runicorn_artifacts import queries
from runicorn_artifacts.errors import IllegalType, MetadataNotFound
from runicorn_artifacts.folder import METADATA_FILE, ArtifactFolder, Status, file_of
from runicorn_artifacts.manifest import ArtifactManifest
from runicorn_artifacts.naming import is_legal
from runicorn_artifacts.pool_size import PoolSize
from runicorn_artifacts.projections.version_row import Details
from runicorn_artifacts.queries import Version
from runicorn_artifacts.routes.resolving import PLUGIN, find_artifact, find_version, folder_of
from runicorn_artifacts.statistics import summarize


class VersionItem(msgspec.Struct, frozen=True):
    """An item of `GET /api/artifacts/{name}/versions`."""

    version: int
    created_at: float
    created_by_run: str
    size_bytes: int
    num_files: int
    status: Status
    aliases: list[str]


class VersionDetail(msgspec.Struct, frozen=True):
    """The answer of `GET /api/artifacts/{name}/v{version}`."""

    name: str
    type: str
    version: int
    created_at: float
    updated_at: float
    created_by_run: str
    created_by_user: str | None
    size_bytes: int
    num_files: int
    num_references: int
    status: Status
    metadata: dict[str, Any] | msgspec.Raw
    description: str
    tags: list[str]
    aliases: list[str]
    manifest_digest: str | None
    lifecycle_stage: str


class FileItem(msgspec.Struct, frozen=True):
    """A file of a version. `absolute_path` is null where the file is absent, or its path leads elsewhere."""

    path: str
    size: int
    digest: str
    modified_at: float | None
    absolute_path: str | None
    is_remote: bool = False


class ReferenceItem(msgspec.Struct, frozen=True):
    """A reference of a version."""

    uri: str
    checksum: str | None
    size: int | None
    metadata: dict[str, Any]


class VersionFiles(msgspec.Struct, frozen=True):
    """The answer of `GET /api/artifacts/{name}/v{version}/files`."""

    artifact: str
    files: list[FileItem]
    references: list[ReferenceItem]
    total_size: int
    total_files: int
    total_references: int
    is_remote: bool = False


class TypeCounts(msgspec.Struct, frozen=True):
    """The share of one type."""

    count: int
    versions: int
    size_bytes: int


class Statistics(msgspec.Struct, frozen=True):
    """The answer of `GET /api/artifacts/stats`."""

    total_artifacts: int
    total_versions: int
    total_size_bytes: int
    total_files: int
    dedup_enabled: bool
    dedup_pool_size_bytes: int
    space_saved_bytes: int
    dedup_ratio: float
    by_type: dict[str, TypeCounts]
    reference_size_bytes: int
    deleted_versions: int


@get("/api/artifacts", operation_id="list_artifacts")
async def list_artifacts(
    request: Request[Any, Any, Any],
    store: Store,
    type: FromQuery[str | None] = None,
    include_deleted: FromQuery[bool] = False,
) -> Response[list[queries.ArtifactItem]]:
    """All artifacts, the one that was changed last first."""
    if type is not None and not is_legal(type):
        raise IllegalType(type)
    model = store.model(PLUGIN)
    etag = strong_etag(*model.counter("artifacts"))
    return await conditional(request, etag, lambda: model.run(queries.artifact_list, type, include_deleted))


@get("/api/artifacts/stats", operation_id="artifact_statistics")
async def artifact_statistics(store: Store, include_deleted: FromQuery[bool] = False) -> Statistics:
    """How much there is, and how much it saves to keep each content once."""
    sizes = await store.model(PLUGIN).run(queries.sizes)
    pool_bytes = await asyncio.to_thread(store.own(PoolSize).bytes)
    return msgspec.convert(summarize(sizes, pool_bytes, True, include_deleted), Statistics)


@get("/api/artifacts/{name:str}/versions", operation_id="list_artifact_versions")
async def list_artifact_versions(
    name: FromPath[str],
    store: Store,
    type: FromQuery[str | None] = None,
    include_deleted: FromQuery[bool] = False,
) -> list[VersionItem]:
    """The versions of an artifact, ascending."""
    artifact = await find_artifact(store, name, type)
    model = store.model(PLUGIN)
    rows = [row for row in model.query(queries.versions, artifact.key) if include_deleted or not row.is_deleted]
    aliases = model.query(queries.aliases_by_version, artifact.key)
    folder = folder_of(store.root, artifact)
    statuses = await asyncio.to_thread(_statuses, folder, rows)
    return [
        VersionItem(
            row.version,
            row.created_at,
            row.created_by_run,
            row.size_bytes,
            row.num_files,
            status,
            aliases.get(row.version, []),
        )
        for row, status in zip(rows, statuses, strict=True)
    ]


@get("/api/artifacts/{name:str}/{version:str}", operation_id="get_artifact_version")
async def get_artifact_version(
    name: FromPath[str], version: FromPath[str], store: Store, type: FromQuery[str | None] = None
) -> VersionDetail:
    """One version, `v3` for example; a deleted one, too."""
    artifact, row = await find_version(store, name, version, type)
    folder = folder_of(store.root, artifact)
    aliases = store.model(PLUGIN).query(queries.aliases_by_version, artifact.key)
    status = await asyncio.to_thread(_status_with_metadata, folder, row)
    details = msgspec.json.decode(row.details, type=Details)
    return VersionDetail(
        name=artifact.name,
        type=artifact.type,
        version=row.version,
        created_at=row.created_at,
        updated_at=max(row.updated_at, row.lived_at or 0.0),
        created_by_run=row.created_by_run,
        created_by_user=details.created_by_user,
        size_bytes=row.size_bytes,
        num_files=row.num_files,
        num_references=row.num_references,
        status=status,
        metadata=details.metadata,
        description=details.description,
        tags=details.tags,
        aliases=aliases.get(row.version, []),
        manifest_digest=None if details.manifest_digest is None else f"sha256:{details.manifest_digest}",
        lifecycle_stage=row.stage,
    )


@get("/api/artifacts/{name:str}/{version:str}/files", operation_id="list_artifact_files")
async def list_artifact_files(
    name: FromPath[str], version: FromPath[str], store: Store, type: FromQuery[str | None] = None
) -> VersionFiles:
    """The content of a version, with the places of its files on this machine."""
    artifact, row = await find_version(store, name, version, type)
    return await asyncio.to_thread(_files, folder_of(store.root, artifact), row.version)


def _statuses(folder: ArtifactFolder, rows: Sequence[Version]) -> list[Status]:
    return [_status(folder, row) for row in rows]


def _status(folder: ArtifactFolder, row: Version) -> Status:
    if row.is_deleted:
        return "deleted"
    return "ready" if not row.is_damaged and folder.is_sound(row.version) else "corrupted"


def _status_with_metadata(folder: ArtifactFolder, row: Version) -> Status:
    if not os.path.lexists(folder.version_path(row.version) / METADATA_FILE):
        raise MetadataNotFound(folder.name, row.version)
    return _status(folder, row)


def _files(folder: ArtifactFolder, version: int) -> VersionFiles:
    stored = folder.manifest(version)
    manifest = ArtifactManifest() if stored is None else stored.content
    path = folder.version_path(version)
    files: list[FileItem] = []
    for entry in manifest.files:
        found = file_of(path, entry, any_size=True)
        files.append(
            FileItem(entry.path, entry.size, entry.digest, entry.modified_at, None if found is None else str(found))
        )
    return VersionFiles(
        artifact=f"{folder.name}:v{version}",
        files=files,
        references=[ReferenceItem(r.uri, r.checksum, r.size, r.metadata) for r in manifest.references],
        total_size=manifest.total_size,
        total_files=len(files),
        total_references=len(manifest.references),
    )
