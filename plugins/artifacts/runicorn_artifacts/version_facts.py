"""What run pages show of a version: found out by a look at its files, in a thread, or from what events say."""

from __future__ import annotations

from pathlib import Path

import apsw
import msgspec

from runicorn.plugin import integer, number
from runicorn_artifacts import queries
from runicorn_artifacts.folder import Status
from runicorn_artifacts.lookup import Lookup
from runicorn_artifacts.metadata import ArtifactMetadata

__all__ = ["MISSING", "Status", "VersionFacts", "facts_in", "known_version", "read_version"]


class VersionFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One version. None where its metadata cannot be read."""

    status: Status
    size_bytes: int | None = None
    created_at: float | None = None
    description: str | None = None
    lifecycle_stage: str | None = None
    aliases: list[str] = []
    """Active ones; a deleted version has none."""


MISSING = VersionFacts(status="missing")


def known_version(db: apsw.Connection, type: str, name: str, version: int) -> VersionFacts:
    """What the events say of a version, whatever its files are by now; `MISSING` if they say nothing."""
    for candidate in queries.candidates(db, name, type):
        row = queries.version(db, candidate.key, version)
        if row is None:
            continue
        if not row.has_metadata:
            return VersionFacts(status="corrupted")
        return VersionFacts(
            status="deleted" if row.is_deleted else "corrupted" if row.is_damaged else "ready",
            size_bytes=row.size_bytes,
            created_at=row.created_at,
            description=msgspec.json.decode(row.details, type=_Described).description,
            lifecycle_stage=row.stage,
            aliases=queries.aliases_by_version(db, candidate.key).get(version, []),
        )
    return MISSING


class _Described(msgspec.Struct, frozen=True):
    """The one field of the details that is shown with a run."""

    description: str | None = None


def read_version(root: Path, type: str, name: str, version: int) -> VersionFacts:
    """What is known of a version; `MISSING` if there is no such version."""
    return facts_in(Lookup(root), type, name, version)


def facts_in(lookup: Lookup, type: str, name: str, version: int) -> VersionFacts:
    """The same, wherever the artifacts are."""
    folder = lookup.at(type, name)
    status = folder.status(version) if version > 0 else "missing"
    content = None if status == "missing" else folder.metadata(version)
    if content is None:
        return MISSING if status == "missing" else VersionFacts(status=status)
    metadata = ArtifactMetadata.from_dict(content)
    return VersionFacts(
        status=status,
        size_bytes=integer(content.get("size_bytes")),
        created_at=number(content.get("created_at")),
        description=metadata.description,
        lifecycle_stage=folder.lifecycle(version).stage,
        aliases=folder.active_aliases(version),
    )
