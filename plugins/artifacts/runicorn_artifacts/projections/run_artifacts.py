"""Which artifacts a run has created, and which it has used.

| table                   | kind   | content                                                                            |
|-------------------------|--------|------------------------------------------------------------------------------------|
| `run_artifact`          | merged | one row per well-formed entry of a run's `artifacts_created.json`, `…_used.json`    |
| `attached_run_artifact` | merged | the same of runs on a server: the artifacts that they name are not those in the root |

The events are those in which the `runs` plugin tells what it observed in the files of a run; what is known of a run whose
directory has vanished stays. The counter `run_artifacts` moves when a row changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from runicorn.plugin import (
    Batch,
    Claim,
    FoldedProjection,
    Part,
    Parts,
    RunObserved,
    StreamKind,
    Tables,
    claim,
    is_attached,
    is_run_key,
    latest,
    run_at,
)
from runicorn_artifacts.entries import CREATED, DIRECTIONS, USED, Entry, read_entries


class RunArtifactsPart(Part, omit_defaults=True):
    """What one stream says about the files of one run."""

    created: Claim[list[Entry]] | None = None
    used: Claim[list[Entry]] | None = None


class RunArtifacts(FoldedProjection[RunArtifactsPart]):
    """See the module's docstring."""

    name = "run_artifacts"
    version = 3
    streams = frozenset[StreamKind]({"store"})
    part_type = RunArtifactsPart
    tables_schema: ClassVar[str] = """
        CREATE TABLE run_artifact(
            run TEXT NOT NULL, direction TEXT NOT NULL, position INTEGER NOT NULL,  -- in the order of the file
            type TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL, size_bytes INTEGER, at REAL,
            run_id TEXT NOT NULL,
            PRIMARY KEY(run, direction, position)) WITHOUT ROWID;
        CREATE INDEX run_artifact_version ON run_artifact(name, type, version);
        CREATE INDEX run_artifact_of_id ON run_artifact(run_id);
        CREATE TABLE attached_run_artifact(
            run TEXT NOT NULL, direction TEXT NOT NULL, position INTEGER NOT NULL,
            type TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL, size_bytes INTEGER, at REAL,
            run_id TEXT NOT NULL,
            PRIMARY KEY(run, direction, position)) WITHOUT ROWID;
    """

    def fold(self, parts: Parts[RunArtifactsPart], batch: Batch) -> None:
        """The last content of each file counts."""
        for event, observed in batch.payloads(RunObserved):
            direction = DIRECTIONS.get(observed.file)
            if direction is None or not is_run_key(observed.run):
                continue
            part = parts[observed.run]
            entries = read_entries(observed.content, direction)
            if direction == CREATED:
                part.created = claim(event.ts, entries, part.created)
            else:
                part.used = claim(event.ts, entries, part.used)

    def merge(self, entity: str, parts: Sequence[tuple[str, RunArtifactsPart]], tables: Tables) -> None:
        """Write the rows of a run."""
        claims = {
            CREATED: latest((stream, part.created) for stream, part in parts),
            USED: latest((stream, part.used) for stream, part in parts),
        }
        run_id = run_at(entity).run_id
        rows = [
            (entity, direction, position, entry.type, entry.name, entry.version, entry.size_bytes, entry.at, run_id)
            for direction, said in claims.items()
            for position, entry in enumerate([] if said is None else said.value)
        ]
        table = table_of(entity)
        before = tables.execute(f"SELECT * FROM {table} WHERE run = ? ORDER BY direction, position", (entity,))
        if before.fetchall() != rows:
            tables.touch("run_artifacts")
            tables.execute(f"DELETE FROM {table} WHERE run = ?", (entity,))
            tables.executemany(f"INSERT INTO {table} VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)


def table_of(run: str) -> str:
    """The table that has the rows of a run, given by its key."""
    return "attached_run_artifact" if is_attached(run) else "run_artifact"
