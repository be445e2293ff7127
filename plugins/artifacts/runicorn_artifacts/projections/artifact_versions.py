"""Which artifacts there are, their versions, aliases and stages.

| table              | kind   | content                                                                              |
|--------------------|--------|--------------------------------------------------------------------------------------|
| `artifact`         | merged | one row per artifact folder with an index or a version                               |
| `artifact_version` | merged | one row per version; deleted ones have a `deleted_at`, purged ones have no row        |
| `artifact_alias`   | merged | what an alias points to, whether or not that is active; `latest` is not in here       |

The *key* of an artifact is its path below the root, `artifacts/<type>/<name>`, which is the name of its stream, too. An
alias is active if its version exists and is not deleted; the highest such version is the latest. `details` is a JSON
object: what is shown of one version alone. `type_order` sorts types as a name without type is looked up in.

The counter `artifacts` moves when a row changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from runicorn.plugin import (
    Batch,
    Claim,
    FoldedProjection,
    Part,
    Parts,
    StreamKind,
    Tables,
    claim,
    is_artifact_key,
    latest,
    number,
)
from runicorn_artifacts.events import (
    ArtifactAliased,
    ArtifactObserved,
    VersionCreated,
    VersionDeleted,
    VersionEvaluated,
    VersionObserved,
    VersionPromoted,
    VersionPurged,
    VersionRestored,
)
from runicorn_artifacts.lifecycle import EXPERIMENTAL, STAGES
from runicorn_artifacts.naming import type_of_folder, type_order
from runicorn_artifacts.projections.version_row import MAX_VERSION, VersionRow

_EVENTS = (
    VersionCreated,
    ArtifactAliased,
    VersionDeleted,
    VersionRestored,
    VersionPurged,
    VersionPromoted,
    VersionEvaluated,
    ArtifactObserved,
    VersionObserved,
)


class ArtifactPart(Part, omit_defaults=True):
    """What one stream says about one artifact (the first four), or about one version of it."""

    present: Claim[bool] | None = None
    created_at: Claim[float] | None = None
    updated_at: Claim[float] | None = None
    aliases: dict[str, Claim[int | None]] = msgspec.field(default_factory=dict[str, Claim[int | None]])
    row: Claim[VersionRow | None] | None = None
    deleted_at: Claim[float | None] | None = None
    stage: Claim[str] | None = None
    lived_at: Claim[float | None] | None = None
    """When the version was promoted or evaluated last."""


class ArtifactVersions(FoldedProjection[ArtifactPart]):
    """See the module's docstring."""

    name = "artifact_versions"
    version = 1
    reading_indexes = frozenset(
        {"artifact_versions_part_stream", "artifact_named", "artifact_version_named", "artifact_version_sizes"}
    )
    streams = frozenset[StreamKind]({"artifact", "store"})
    part_type = ArtifactPart
    tables_schema: ClassVar[str] = """
        CREATE TABLE artifact(
            key TEXT PRIMARY KEY, type TEXT NOT NULL, name TEXT NOT NULL, type_order TEXT NOT NULL,
            created_at REAL NOT NULL, updated_at REAL NOT NULL) WITHOUT ROWID;
        CREATE INDEX artifact_named ON artifact(name, type);
        CREATE TABLE artifact_version(
            key TEXT NOT NULL, version INTEGER NOT NULL, type TEXT NOT NULL, name TEXT NOT NULL,
            created_at REAL NOT NULL, updated_at REAL NOT NULL, created_by_run TEXT NOT NULL,
            size_bytes INTEGER NOT NULL, reference_bytes INTEGER NOT NULL, file_bytes INTEGER NOT NULL,
            num_files INTEGER NOT NULL, num_references INTEGER NOT NULL, is_damaged INTEGER NOT NULL,
            has_metadata INTEGER NOT NULL, deleted_at REAL, stage TEXT NOT NULL, lived_at REAL,
            details BLOB NOT NULL,  -- the wide one last: it may overflow the page
            PRIMARY KEY(key, version)) WITHOUT ROWID;
        CREATE INDEX artifact_version_named ON artifact_version(name, type, version);
        CREATE INDEX artifact_version_sizes ON artifact_version(  -- holds all that lists and statistics look at
            key, version, type, deleted_at, size_bytes, num_files, reference_bytes, file_bytes);
        CREATE TABLE artifact_alias(
            key TEXT NOT NULL, alias TEXT NOT NULL, version INTEGER NOT NULL,
            PRIMARY KEY(key, alias)) WITHOUT ROWID;
    """

    def fold(self, parts: Parts[ArtifactPart], batch: Batch) -> None:
        """The artifact's own stream speaks of it alone, the store stream of any."""
        for event, payload in batch.payloads(*_EVENTS):
            if isinstance(payload, ArtifactObserved | VersionObserved):
                if batch.stream.kind == "store" and is_artifact_key(payload.artifact):
                    _fold_observed(parts, event.ts, payload)
            elif batch.stream.kind == "artifact" and is_artifact_key(batch.stream.name):
                _fold_own(parts, batch.stream.name, event.ts, payload)

    def merge(self, entity: str, parts: Sequence[tuple[str, ArtifactPart]], tables: Tables) -> None:
        """Write the rows of an artifact, or the row of a version."""
        key, version = _split(entity)
        if version is None:
            _merge_artifact(key, parts, tables)
        else:
            _merge_version(key, version, parts, tables)


def type_and_name(key: str) -> tuple[str, str]:
    """The type and the name of the artifact with this key."""
    _, folder, name = key.split("/")
    return type_of_folder(folder), name


def _version_entity(key: str, version: int) -> str:
    return f"{key}/v{version}"


def _split(entity: str) -> tuple[str, int | None]:
    parts = entity.split("/")
    return "/".join(parts[:3]), int(parts[3][1:]) if len(parts) > 3 else None


def _fold_own(parts: Parts[ArtifactPart], key: str, ts: float, payload: Any) -> None:
    artifact = parts[key]
    if isinstance(payload, ArtifactAliased):
        artifact.aliases[payload.alias] = claim(ts, payload.version, artifact.aliases.get(payload.alias))
        return
    if not 0 < payload.version <= MAX_VERSION:
        return
    version = parts[_version_entity(key, payload.version)]
    match payload:
        case VersionCreated():
            version.row = claim(ts, VersionRow.of(payload.record), version.row)
            version.deleted_at = claim(ts, None, version.deleted_at)
            if artifact.created_at is None:  # as of the beginning of time: what an older index says is worth more
                artifact.created_at = claim(0.0, number(payload.record.created_at) or 0.0, None)
        case VersionDeleted():
            version.deleted_at = claim(ts, number(payload.deleted_at) or 0.0, version.deleted_at)
        case VersionRestored():
            version.deleted_at = claim(ts, None, version.deleted_at)
        case VersionPurged():
            version.row = claim(ts, None, version.row)
        case VersionPromoted():
            version.stage = claim(ts, payload.to_stage, version.stage)
            version.lived_at = claim(ts, number(ts), version.lived_at)
        case VersionEvaluated():
            version.lived_at = claim(ts, number(ts), version.lived_at)
            return  # an evaluation is no change of the artifact
        case _:
            return
    artifact.present = claim(ts, True, artifact.present)
    artifact.updated_at = claim(ts, number(ts) or 0.0, artifact.updated_at)


def _fold_observed(parts: Parts[ArtifactPart], ts: float, payload: ArtifactObserved | VersionObserved) -> None:
    if isinstance(payload, ArtifactObserved):
        artifact = parts[payload.artifact]
        artifact.present = claim(ts, payload.is_present, artifact.present)
        for alias, target in payload.aliases.items():
            artifact.aliases[alias] = claim(ts, target, artifact.aliases.get(alias))
        created_at, updated_at = number(payload.created_at), number(payload.updated_at)
        if created_at is not None:
            artifact.created_at = claim(ts, created_at, artifact.created_at)
        if updated_at is not None:
            artifact.updated_at = claim(ts, updated_at, artifact.updated_at)
        return
    if not 0 < payload.version <= MAX_VERSION:
        return
    version = parts[_version_entity(payload.artifact, payload.version)]
    row = None if payload.record is None else VersionRow.of(payload.record)
    version.row = claim(ts, row, version.row)
    deleted_at = None if payload.deleted_at is None else number(payload.deleted_at) or 0.0
    version.deleted_at = claim(ts, deleted_at, version.deleted_at)
    version.stage = claim(ts, payload.stage or EXPERIMENTAL, version.stage)
    version.lived_at = claim(ts, number(payload.stage_changed_at), version.lived_at)


def _merge_artifact(key: str, parts: Sequence[tuple[str, ArtifactPart]], tables: Tables) -> None:
    present = latest((stream, part.present) for stream, part in parts)
    created_at = latest((stream, part.created_at) for stream, part in parts)
    updated_at = latest((stream, part.updated_at) for stream, part in parts)
    names = sorted({alias for _, part in parts for alias in part.aliases})
    claims = {alias: latest((stream, part.aliases.get(alias)) for stream, part in parts) for alias in names}
    type, name = type_and_name(key)
    rows: list[tuple[Any, ...]] = []
    if present is not None and present.value:
        created = 0.0 if created_at is None else created_at.value
        updated = created if updated_at is None else updated_at.value
        place, _ = type_order(type)
        rows.append((key, type, name, f"{place} {type}", created, updated))
    aliases = [
        (key, alias, said.value) for alias, said in claims.items() if said is not None and _is_version(said.value)
    ]
    _replace(tables, "artifact", key, rows)
    _replace(tables, "artifact_alias", key, aliases if rows else [])


def _merge_version(key: str, version: int, parts: Sequence[tuple[str, ArtifactPart]], tables: Tables) -> None:
    row = latest((stream, part.row) for stream, part in parts)
    before = tables.execute("SELECT * FROM artifact_version WHERE key = ? AND version = ?", (key, version)).fetchall()
    after: list[tuple[Any, ...]] = []
    if row is not None and row.value is not None:
        deleted_at = latest((stream, part.deleted_at) for stream, part in parts)
        stage = latest((stream, part.stage) for stream, part in parts)
        lived_at = latest((stream, part.lived_at) for stream, part in parts)
        *columns, details = msgspec.structs.astuple(row.value)
        values = [int(value) if isinstance(value, bool) else value for value in columns]
        after.append(
            (
                key,
                version,
                *type_and_name(key),
                *values,
                None if deleted_at is None else deleted_at.value,
                stage.value if stage is not None and stage.value in STAGES else EXPERIMENTAL,
                None if lived_at is None else lived_at.value,
                details,
            )
        )
    if before != after:
        tables.touch("artifacts")
        tables.execute("DELETE FROM artifact_version WHERE key = ? AND version = ?", (key, version))
        tables.executemany(f"INSERT INTO artifact_version VALUES ({', '.join('?' * 18)})", after)


def _replace(tables: Tables, table: str, key: str, rows: list[tuple[Any, ...]]) -> None:
    before = tables.execute(f"SELECT * FROM {table} WHERE key = ?", (key,)).fetchall()
    if before != rows:
        tables.touch("artifacts")
        tables.execute(f"DELETE FROM {table} WHERE key = ?", (key,))
        for row in rows:
            tables.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)


def _is_version(value: int | None) -> bool:
    return value is not None and 0 < value <= MAX_VERSION
