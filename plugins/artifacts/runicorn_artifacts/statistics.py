"""How much a store holds, and how much it saves by keeping each content once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from runicorn_artifacts.folder import ArtifactFolder
from runicorn_artifacts.naming import type_order


@dataclass
class VersionSize:
    """What one version adds."""

    type: str
    name: str
    is_deleted: bool
    num_files: int
    size_bytes: int
    """Known sizes of references included."""
    reference_bytes: int
    file_bytes: int


def storage_statistics(
    artifacts: Iterable[ArtifactFolder], pool_bytes: int, is_shared: bool, include_deleted: bool
) -> dict[str, Any]:
    """The answer of `GET /api/artifacts/stats`, from folders."""
    return summarize((size for folder in artifacts for size in _sizes(folder)), pool_bytes, is_shared, include_deleted)


def summarize(
    versions: Iterable[VersionSize], pool_bytes: int, is_shared: bool, include_deleted: bool
) -> dict[str, Any]:
    """The answer of `GET /api/artifacts/stats`, in the order of its keys."""
    versions = list(versions)
    shown = [version for version in versions if include_deleted or not version.is_deleted]
    stored = sum(version.file_bytes for version in versions)
    saved = max(0, stored - pool_bytes) if is_shared else 0
    by_type: dict[str, Any] = {}
    for type in sorted({version.type for version in shown}, key=type_order):
        of_type = [version for version in shown if version.type == type]
        by_type[type] = {
            "count": len({version.name for version in of_type}),
            "versions": len(of_type),
            "size_bytes": sum(version.size_bytes for version in of_type),
        }
    return {
        "total_artifacts": sum(counts["count"] for counts in by_type.values()),
        "total_versions": len(shown),
        "total_size_bytes": sum(version.size_bytes for version in shown),
        "total_files": sum(version.num_files for version in shown),
        "dedup_enabled": is_shared,
        "dedup_pool_size_bytes": pool_bytes,
        "space_saved_bytes": saved,
        "dedup_ratio": saved / stored if stored else 0,
        "by_type": by_type,
        "reference_size_bytes": sum(version.reference_bytes for version in shown),
        "deleted_versions": sum(version.is_deleted for version in versions),
    }


def _sizes(folder: ArtifactFolder) -> Iterable[VersionSize]:
    for number in folder.versions:
        record = folder.record(number)
        if record is not None:
            yield VersionSize(
                folder.type,
                folder.name,
                folder.is_deleted(number),
                record.num_files,
                record.size_bytes,
                record.reference_bytes,
                record.file_bytes,
            )
