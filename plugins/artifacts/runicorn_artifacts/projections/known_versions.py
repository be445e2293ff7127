"""What the read model says of versions, for comparing with their folders."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from runicorn_artifacts.projections.version_row import VersionRow


class KnownVersion(msgspec.Struct, frozen=True):
    """What the read model says of a version."""

    row: VersionRow
    deleted_at: float | None
    stage: str
    lived_at: float | None


def known_versions(db: Any, key: str) -> dict[int, KnownVersion]:
    """The versions of an artifact, deleted ones included, for comparing with its folder."""
    rows = cast(
        list[tuple[Any, ...]],
        db.execute(
            "SELECT version, created_at, updated_at, created_by_run, size_bytes, reference_bytes, file_bytes, num_files,"
            " num_references, is_damaged, has_metadata, details, deleted_at, stage, lived_at FROM artifact_version"
            " WHERE key = ?",
            (key,),
        ).fetchall(),
    )
    known: dict[int, KnownVersion] = {}
    for version, *columns, is_damaged, has_metadata, details, deleted_at, stage, lived_at in rows:
        row = msgspec.convert([*columns, bool(is_damaged), bool(has_metadata), details], VersionRow)
        known[version] = KnownVersion(row, deleted_at, stage, lived_at)
    return known
