"""Tables → structs: the SQL behind the routes. Functions take a connection to the read model of this plugin."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, cast

import apsw
import msgspec

from runicorn_artifacts.entries import USED, Entry
from runicorn_artifacts.naming import LATEST, type_order
from runicorn_artifacts.projections.run_artifacts import table_of
from runicorn_artifacts.statistics import VersionSize


class ArtifactItem(msgspec.Struct, frozen=True):
    """An item of `GET /api/artifacts`."""

    name: str
    type: str
    num_versions: int
    latest_version: int
    size_bytes: int
    created_at: float
    updated_at: float
    aliases: dict[str, int]


class Candidate(msgspec.Struct, frozen=True):
    """An artifact that a name may mean."""

    key: str
    type: str
    name: str
    has_versions: bool
    has_ready: bool


class ListedVersion(msgspec.Struct, frozen=True):
    """A version with all that lists show of it."""

    version: int
    created_at: float
    updated_at: float
    created_by_run: str
    size_bytes: int
    num_files: int
    num_references: int
    is_damaged: bool
    has_metadata: bool
    is_deleted: bool
    stage: str
    lived_at: float | None


class Version(ListedVersion, frozen=True):
    """A version with all that is shown of it."""

    details: bytes


_LISTED = (
    "version, created_at, updated_at, created_by_run, size_bytes, num_files, num_references, is_damaged, has_metadata,"
    " deleted_at IS NOT NULL, stage, lived_at"
)


def run_artifacts(db: apsw.Connection, key: str, direction: str) -> list[Entry]:
    """The artifacts that a run has created or used, in the order of its file."""
    rows = db.execute(
        f"SELECT type, name, version, size_bytes, at FROM {table_of(key)} WHERE run = ? AND direction = ? ORDER BY position",
        (key, direction),
    )
    return [Entry(*row) for row in rows]  # type: ignore[arg-type]  # the columns of the struct


def candidates(db: apsw.Connection, name: str, type: str | None) -> list[Candidate]:
    """The artifacts of that name (and type), in the order in which types are searched."""
    rows = cast(
        list[tuple[str, str, int, int]],
        db.execute(
            "SELECT key, type, EXISTS (SELECT 1 FROM artifact_version v WHERE v.key = a.key), EXISTS (SELECT 1 FROM"
            " artifact_version v WHERE v.key = a.key AND v.deleted_at IS NULL) FROM artifact a"
            " WHERE name = ? AND (? IS NULL OR type = ?)",
            (name, type, type),
        ).fetchall(),
    )
    found = [Candidate(key, type, name, bool(versions), bool(ready)) for key, type, versions, ready in rows]
    return sorted(found, key=lambda candidate: (type_order(candidate.type), not _is_usual(candidate), candidate.key))


def chosen(found: Sequence[Candidate]) -> Candidate | None:
    """The one that a name means: with a version that is not deleted, else with any version, else with an index."""
    preferred = [c for c in found if c.has_ready] or [c for c in found if c.has_versions] or found
    return preferred[0] if preferred else None


def artifact_list(db: apsw.Connection, type: str | None, include_deleted: bool) -> list[ArtifactItem]:
    """Every artifact (of a type), the one that was changed last first."""
    aliases = _active_aliases(db)
    counts = cast(
        list[tuple[str, int, int, int, int]],
        db.execute(
            # The other columns are those of the row with the greatest version: SQLite says so of a lone max().
            "SELECT key, count(*), max(version), size_bytes, deleted_at IS NULL FROM artifact_version"
            " INDEXED BY artifact_version_sizes WHERE deleted_at IS NULL OR ? GROUP BY key, deleted_at IS NULL",
            (include_deleted,),
        ).fetchall(),
    )
    ready: dict[str, tuple[int, int, int]] = {}
    deleted: dict[str, tuple[int, int, int]] = {}
    for key, count, version, size, is_ready in counts:
        (ready if is_ready else deleted)[key] = (count, version, size)
    items: dict[tuple[str, str], ArtifactItem] = {}
    rows = cast(
        list[tuple[str, str, str, float, float]],
        db.execute(
            "SELECT key, type, name, created_at, updated_at FROM artifact WHERE ? IS NULL OR type = ?"
            " ORDER BY key = 'artifacts/' || type || '/' || name",  # the usual folder last: it wins
            (type, type),
        ).fetchall(),
    )
    for key, kind, name, created_at, updated_at in rows:
        newest = ready.get(key) or deleted.get(key)
        if newest is not None:
            count = sum(found[0] for found in (ready.get(key), deleted.get(key)) if found is not None)
            latest = {LATEST: newest[1]} if key in ready else {}
            items[kind, name] = ArtifactItem(
                name, kind, count, newest[1], newest[2], created_at, updated_at, {**latest, **aliases.get(key, {})}
            )
    return sorted(items.values(), key=lambda item: (-item.updated_at, item.type, item.name))


def versions(db: apsw.Connection, key: str) -> list[ListedVersion]:
    """The versions of an artifact, ascending, deleted ones included. Cost: what there is of them; not for event loops."""
    rows = db.execute(f"SELECT {_LISTED} FROM artifact_version WHERE key = ? ORDER BY version", (key,)).fetchall()
    return [ListedVersion(*row) for row in cast(list[tuple[Any, ...]], rows)]


def versions_and_aliases(db: apsw.Connection, key: str) -> tuple[list[ListedVersion], dict[int, list[str]]]:
    """The versions of an artifact, and its active aliases by version: of one moment."""
    return versions(db, key), aliases_by_version(db, key)


def version(db: apsw.Connection, key: str, number: int) -> Version | None:
    """One version of an artifact; None if it has no such version."""
    rows = db.execute(
        f"SELECT {_LISTED}, details FROM artifact_version WHERE key = ? AND version = ?", (key, number)
    ).fetchall()
    return Version(*cast(tuple[Any, ...], rows[0])) if rows else None


def aliases_by_version(db: apsw.Connection, key: str) -> dict[int, list[str]]:
    """The active aliases of an artifact's versions, `latest` last."""
    found: defaultdict[int, list[str]] = defaultdict(list)
    for alias, version in cast(
        list[tuple[str, int]],
        db.execute(
            "SELECT alias, version FROM artifact_alias JOIN artifact_version USING (key, version)"
            " WHERE key = ? AND deleted_at IS NULL ORDER BY alias",
            (key,),
        ).fetchall(),
    ):
        found[version].append(alias)
    latest = latest_version(db, key)
    if latest is not None:
        found[latest].append(LATEST)
    return found


def latest_version(db: apsw.Connection, key: str) -> int | None:
    """The highest version that is not deleted."""
    rows = db.execute(
        "SELECT max(version) FROM artifact_version WHERE key = ? AND deleted_at IS NULL", (key,)
    ).fetchall()
    return cast(int | None, rows[0][0])


def sizes(db: apsw.Connection) -> list[VersionSize]:
    """What every version adds to the statistics."""
    rows = db.execute(
        "SELECT type, substr(key, 11), deleted_at IS NOT NULL, num_files, size_bytes, reference_bytes, file_bytes"
        " FROM artifact_version INDEXED BY artifact_version_sizes"
    ).fetchall()
    return [VersionSize(row[0], row[1], bool(row[2]), *row[3:]) for row in cast(list[tuple[Any, ...]], rows)]


def version_node(db: apsw.Connection, type: str, name: str, version: int) -> tuple[Any, ...] | None:
    """Size, creation, whether damaged, whether deleted, and the producing run of a version with readable metadata."""
    rows = db.execute(
        "SELECT size_bytes, created_at, is_damaged, deleted_at IS NOT NULL, created_by_run FROM artifact_version"
        " WHERE type = ? AND name = ? AND version = ? AND has_metadata ORDER BY key LIMIT 1",
        (type, name, version),
    ).fetchall()
    return rows[0] if rows else None


def runs_that_used(db: apsw.Connection, type: str, name: str, version: int) -> Iterator[tuple[str, float | None]]:
    """Keys of the runs that have used a version, and when."""
    rows = db.execute(
        "SELECT run, min(at) FROM run_artifact WHERE type = ? AND name = ? AND version = ? AND direction = ? GROUP BY run",
        (type, name, version, USED),
    )
    return iter(cast(list[tuple[str, float | None]], rows.fetchall()))


def run_key_named(db: apsw.Connection, run_id: str) -> str | None:
    """The key of a run that has made or used artifacts; of several with one id the first by key."""
    rows = db.execute("SELECT min(run) FROM run_artifact WHERE run_id = ?", (run_id,)).fetchall()
    return cast(str | None, rows[0][0])


def _is_usual(candidate: Candidate) -> bool:
    return candidate.key == f"artifacts/{candidate.type}/{candidate.name}"


def _active_aliases(db: apsw.Connection) -> dict[str, dict[str, int]]:
    found: defaultdict[str, dict[str, int]] = defaultdict(dict)
    rows = db.execute(
        "SELECT key, alias, version FROM artifact_alias JOIN artifact_version USING (key, version)"
        " WHERE deleted_at IS NULL ORDER BY key, alias"
    ).fetchall()
    for key, alias, version in cast(list[tuple[str, str, int]], rows):
        found[key][alias] = version
    return found
