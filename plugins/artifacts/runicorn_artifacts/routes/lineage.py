"""`GET /api/artifacts/{name}/v{version}/lineage`, from read models."""

from __future__ import annotations

import asyncio
from typing import cast

import apsw
import msgspec
from litestar import get
from litestar.params import FromPath, FromQuery

from runicorn.plugin import Serving, StorageUnavailable, Store, is_run_key, run_at
from runicorn_artifacts.lineage import MAX_DEPTH, LineageGraph, VersionKey, trace
from runicorn_artifacts.routes.elsewhere import elsewhere
from runicorn_artifacts.routes.resolving import PLUGIN, find_version
from runicorn_artifacts.table_facts import TableFacts

RunNames = dict[str, tuple[str | None, str | None]]
"""Project and name of runs, by id."""


@get("/api/artifacts/{name:str}/{version:str}/lineage", operation_id="artifact_lineage")
async def artifact_lineage(
    name: FromPath[str],
    version: FromPath[str],
    store: Store,
    serving: Serving,
    type: FromQuery[str | None] = None,
    max_depth: FromQuery[int] = 3,
) -> LineageGraph:
    """What a version came from and what was made of it, at most `max_depth` (0…10) steps away."""
    other = elsewhere(serving)
    if other is not None:
        return await asyncio.to_thread(other.lineage, name, version, type, max_depth)
    artifact, row = await find_version(store, name, version, type)
    root = VersionKey(artifact.type, artifact.name, row.version)
    graph, keys = await store.model(PLUGIN).run(_trace, root, max_depth)
    names = await run_names(store, keys)
    for node in graph.nodes:
        if node.node_type == "run":
            node.metadata["project"], node.metadata["name"] = names.get(node.node_id, (None, None))
    return graph


def _trace(db: apsw.Connection, root: VersionKey, max_depth: int) -> tuple[LineageGraph, dict[str, str]]:
    facts = TableFacts(db)
    depth = max(0, min(max_depth, MAX_DEPTH))
    if depth:
        facts.bring_upstream(root, depth)
        facts.bring_downstream(root, depth)
    return trace(facts, root, max_depth), facts.keys


async def run_names(store: Store, keys: dict[str, str]) -> RunNames:
    """Project and name of runs, by id; those without a row are gone."""
    try:
        return await store.model("runs").run(_run_names, keys)
    except StorageUnavailable:  # the plugin is not enabled: directories tell, too
        runs = {run_id: run_at(key) for run_id, key in keys.items() if is_run_key(key)}
        return {run_id: (run.project, run.name) for run_id, run in runs.items()}


def _run_names(db: apsw.Connection, keys: dict[str, str]) -> RunNames:
    """By key, and what is not found so by id: two queries, however many runs there are."""
    by_key = db.execute(
        "SELECT wanted.key, project, name FROM json_each(?) AS wanted CROSS JOIN run ON run.key = wanted.value",
        (_json(keys),),
    ).fetchall()
    found = {row[0]: row[1:] for row in cast(list[tuple[str, str | None, str | None]], by_key)}
    left = [run_id for run_id in keys if run_id not in found]
    if left:
        by_id = db.execute(
            "SELECT run_named.run_id, run.project, run.name FROM json_each(?) AS wanted"
            " CROSS JOIN run_named ON run_named.run_id = wanted.value JOIN run USING (key)",
            (_json(left),),
        ).fetchall()
        for run_id, project, name in cast(list[tuple[str, str | None, str | None]], by_id):
            found.setdefault(run_id, (project, name))
    return found


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
