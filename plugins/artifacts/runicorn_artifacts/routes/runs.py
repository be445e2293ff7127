"""`GET /api/runs/{run_id}/artifacts`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec
from litestar import get
from litestar.params import FromPath

from runicorn.plugin import Serving, Store, find_run, is_attached
from runicorn_artifacts import queries
from runicorn_artifacts.entries import CREATED, USED, Entry
from runicorn_artifacts.routes.elsewhere import elsewhere
from runicorn_artifacts.version_facts import Status, VersionFacts, known_version, read_version

FactsOf = Callable[[str, str, int], VersionFacts]
"""From type, name and number of a version to what is known of it."""


class RunArtifact(msgspec.Struct, frozen=True):
    """An artifact version, seen from a run. Where the version cannot be read, what the run noted about it."""

    name: str
    type: str
    version: int
    size_bytes: int
    created_at: float
    """Unix seconds; 0 if unknown."""
    description: str | None
    aliases: list[str]
    lifecycle_stage: str | None
    status: Status


class RunArtifactLists(msgspec.Struct, frozen=True):
    """The answer of `GET /api/runs/{run_id}/artifacts`, in the order in which the run noted them."""

    created: list[RunArtifact]
    used: list[RunArtifact]


@get("/api/runs/{run_id:str}/artifacts", operation_id="list_run_artifacts")
async def list_run_artifacts(run_id: FromPath[str], store: Store, serving: Serving) -> RunArtifactLists:
    """The artifact versions that a run has created and used. Those of a run on a server are there, too."""
    key = await find_run(store, run_id)
    await store.look(key)
    model = store.model("artifacts")
    created, used = (model.query(queries.run_artifacts, key, direction) for direction in (CREATED, USED))
    if store.as_of is not None:  # the files are as they are now
        return model.query(lambda db: _lists(created, used, lambda *which: known_version(db, *which)))
    other = elsewhere(serving) if is_attached(key) else None
    if other is not None:
        return await asyncio.to_thread(_lists, created, used, other.facts_of)
    return await asyncio.to_thread(lambda: _lists(created, used, lambda *which: read_version(store.root, *which)))


def _lists(created: Sequence[Entry], used: Sequence[Entry], facts_of: FactsOf) -> RunArtifactLists:
    return RunArtifactLists(_describe(created, facts_of), _describe(used, facts_of))


def _describe(entries: Sequence[Entry], facts_of: FactsOf) -> list[RunArtifact]:
    described: list[RunArtifact] = []
    for entry in entries:
        facts = facts_of(entry.type, entry.name, entry.version)
        size = entry.size_bytes if facts.size_bytes is None else facts.size_bytes
        created_at = entry.at if facts.created_at is None else facts.created_at
        described.append(
            RunArtifact(
                name=entry.name,
                type=entry.type,
                version=entry.version,
                size_bytes=size or 0,
                created_at=created_at or 0.0,
                description=facts.description,
                aliases=facts.aliases,
                lifecycle_stage=facts.lifecycle_stage,
                status=facts.status,
            )
        )
    return described
