"""`GET /api/artifacts/{name}/v{version}/impact` and `/provenance`: whole histories, from read models."""

from __future__ import annotations

import asyncio
from typing import cast

import apsw
import msgspec
from litestar import MediaType, Response, get
from litestar.params import FromPath, FromQuery

from runicorn.plugin import Serving, Store, dump_json
from runicorn_artifacts import reach
from runicorn_artifacts.errors import MetadataNotFound
from runicorn_artifacts.lineage import VersionKey
from runicorn_artifacts.reach import Reach, ReachedVersion
from runicorn_artifacts.recipes import Provenance, provenance
from runicorn_artifacts.routes.elsewhere import elsewhere
from runicorn_artifacts.routes.lineage import RunNames, run_names
from runicorn_artifacts.routes.resolving import PLUGIN, find_version
from runicorn_artifacts.table_facts import TableFacts


class ImpactRun(msgspec.Struct, frozen=True, gc=False):
    """A run that depends on the version. Project and name are null if it is gone."""

    run_id: str
    project: str | None
    name: str | None
    distance: int
    used: list[str]
    made: list[str]


class Impact(msgspec.Struct, frozen=True):
    """The answer of `GET /api/artifacts/{name}/v{version}/impact`. `is_all` is false if there was too much to follow."""

    artifact: ReachedVersion
    counts: dict[str, int]
    versions: list[ReachedVersion]
    runs: list[ImpactRun]
    is_all: bool


@get("/api/artifacts/{name:str}/{version:str}/impact", operation_id="artifact_impact")
async def artifact_impact(
    name: FromPath[str], version: FromPath[str], store: Store, serving: Serving, type: FromQuery[str | None] = None
) -> Response[Impact]:
    """Everything that was made of a version, directly or not: models first, then by distance; and the runs that did."""
    other = elsewhere(serving)
    if other is not None:
        return await _response(*await asyncio.to_thread(other.impact, name, version, type))
    key = await _key(store, name, version, type)
    found = await store.model(PLUGIN).run(_impact, key)
    if found is None:
        raise MetadataNotFound(key.name, key.version)
    return await _response(found, await run_names(store, {run.run_id: run.key for run in found.runs}))


async def _response(found: Reach, names: RunNames) -> Response[Impact]:
    """Encoded in a thread: there may be thousands of versions and runs."""
    encoded = await asyncio.to_thread(_encoded, found, names)
    return cast("Response[Impact]", Response(encoded, media_type=MediaType.JSON))


def _encoded(found: Reach, names: RunNames) -> bytes:
    answer = _answer(found, names)
    try:
        return msgspec.json.encode(answer)
    except UnicodeEncodeError:  # names of folders elsewhere that are not UTF-8
        return dump_json(msgspec.to_builtins(answer))


def _answer(found: Reach, names: RunNames) -> Impact:
    runs = [
        ImpactRun(run.run_id, *names.get(run.run_id, (None, None)), run.distance, run.used, run.made)
        for run in found.runs
    ]
    return Impact(found.root, found.counts(), found.versions, runs, found.is_all)


@get("/api/artifacts/{name:str}/{version:str}/provenance", operation_id="artifact_provenance")
async def artifact_provenance(
    name: FromPath[str], version: FromPath[str], store: Store, serving: Serving, type: FromQuery[str | None] = None
) -> Provenance:
    """The whole recipe of a version: the runs that led to it, with code, environment and inputs, the first one first."""
    other = elsewhere(serving)
    if other is not None:
        return await asyncio.to_thread(other.provenance, name, version, type)
    key = await _key(store, name, version, type)
    found = await store.model(PLUGIN).run(_ancestry, key)
    if found is None:
        raise MetadataNotFound(key.name, key.version)
    return await asyncio.to_thread(provenance, store.root, found)


async def _key(store: Store, name: str, version: str, type: str | None) -> VersionKey:
    artifact, row = await find_version(store, name, version, type)
    return VersionKey(artifact.type, artifact.name, row.version)


def _impact(db: apsw.Connection, root: VersionKey) -> Reach | None:
    facts = TableFacts(db)
    facts.bring_downstream(root)
    return reach.impact(facts, root)


def _ancestry(db: apsw.Connection, root: VersionKey) -> Reach | None:
    facts = TableFacts(db)
    facts.bring_upstream(root)
    return reach.ancestry(facts, root)
