"""Lists of artifacts and versions from folders, without a server."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from runicorn_artifacts.folder import ArtifactFolder
from runicorn_artifacts.index import ArtifactVersionInfo
from runicorn_artifacts.lookup import Lookup


def artifact_list(lookup: Lookup, type: str | None, include_deleted: bool) -> list[dict[str, Any]]:
    """Every artifact (of a type), the one that was changed last first, as `GET /api/artifacts` shows them."""
    found = [item for folder in lookup.artifacts(type) if (item := _listed(folder, include_deleted)) is not None]
    return sorted(found, key=lambda item: (-item["updated_at"], item["type"], item["name"]))


def version_list(folder: ArtifactFolder, include_deleted: bool) -> list[ArtifactVersionInfo]:
    """The versions of an artifact, ascending, with the aliases by which they can be found."""
    return [
        replace(item, status=folder.status(item.version), aliases=folder.active_aliases(item.version))
        for item in folder.index.versions
        if include_deleted or item.status != "deleted"
    ]


def _listed(folder: ArtifactFolder, include_deleted: bool) -> dict[str, Any] | None:
    items = folder.index.versions
    ready = [item for item in items if item.status != "deleted"]
    shown = items if include_deleted else ready
    if not shown:
        return None
    newest = (ready or shown)[-1]
    return {
        "name": folder.name,
        "type": folder.type,
        "num_versions": len(shown),
        "latest_version": newest.version,
        "size_bytes": newest.size_bytes,
        "created_at": folder.index.created_at,
        "updated_at": folder.index.updated_at,
        "aliases": folder.aliases,
    }
