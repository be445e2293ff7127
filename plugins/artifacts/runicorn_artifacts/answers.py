"""What the routes answer about artifacts, wherever those are."""

from __future__ import annotations

from typing import Any

import msgspec

from runicorn_artifacts.folder import ArtifactFolder, Status, file_of
from runicorn_artifacts.manifest import ArtifactManifest
from runicorn_artifacts.projections.version_row import Details
from runicorn_artifacts.queries import ListedVersion, Version


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


class StatisticsElsewhere(Statistics, frozen=True):
    """The same, where the artifacts are in another place."""

    connected: bool
    last_sync: float | None
    cached_artifacts: int
    """Versions."""
    cache_size_bytes: int
    remote_size_bytes: int
    sync_count: int
    error_count: int


def version_item(row: ListedVersion, status: Status, aliases: list[str]) -> VersionItem:
    """A version as lists show it."""
    return VersionItem(row.version, row.created_at, row.created_by_run, row.size_bytes, row.num_files, status, aliases)


def version_detail(name: str, type: str, row: Version, status: Status, aliases: list[str]) -> VersionDetail:
    """All that is shown of a version."""
    details = msgspec.json.decode(row.details, type=Details)
    return VersionDetail(
        name=name,
        type=type,
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
        aliases=aliases,
        manifest_digest=None if details.manifest_digest is None else f"sha256:{details.manifest_digest}",
        lifecycle_stage=row.stage,
    )


def version_files(folder: ArtifactFolder, version: int, *, is_remote: bool = False) -> VersionFiles:
    """What the manifest lists. Files of a remote place have no path here."""
    stored = folder.manifest(version)
    manifest = ArtifactManifest() if stored is None else stored.content
    path = folder.version_path(version)
    files: list[FileItem] = []
    for entry in manifest.files:
        found = None if is_remote else file_of(path, entry, any_size=True)
        place = None if found is None else str(found)
        files.append(FileItem(entry.path, entry.size, entry.digest, entry.modified_at, place, is_remote))
    return VersionFiles(
        artifact=f"{folder.name}:v{version}",
        files=files,
        references=[ReferenceItem(r.uri, r.checksum, r.size, r.metadata) for r in manifest.references],
        total_size=manifest.total_size,
        total_files=len(files),
        total_references=len(manifest.references),
        is_remote=is_remote,
    )
