"""`GET /api/artifacts/{name}/v{version}/lineage`, from read models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import apsw
import msgspec
from litestar import get
from litestar.params import FromPath, FromQuery

from runicorn.plugin import StorageUnavailable, Store, is_run_key, run_at
from runicorn_artifacts import queries
from runicorn_artifacts.entries import CREATED, USED
from runicorn_artifacts.lineage import LineageGraph, LineageNode, Link, RunNode, Use, VersionKey, VersionNode, trace
from runicorn_artifacts.routes.resolving import PLUGIN, find_version


class Node(msgspec.Struct, frozen=True):
    """An artifact version, or a run."""

    node_type: str
    node_id: str
    label: str
    metadata: dict[str, Any]


class Edge(msgspec.Struct, frozen=True):
    """`source` was used by, or has produced, `target`."""

    source: str
    target: str
    edge_type: str
    created_at: float | None


class Lineage(msgspec.Struct, frozen=True):
    """The answer of `GET /api/artifacts/{name}/v{version}/lineage`."""

    root_artifact: str
    nodes: list[Node]
    edges: list[Edge]


@get("/api/artifacts/{name:str}/{version:str}/lineage", operation_id="artifact_lineage")
async def artifact_lineage(
    name: FromPath[str],
    version: FromPath[str],
    store: Store,
    type: FromQuery[str | None] = None,
    max_depth: FromQuery[int] = 3,
) -> Lineage:
    """What a version came from and what was made of it, at most `max_depth` (0…10) steps away."""
    artifact, row = await find_version(store, name, version, type)
    root = VersionKey(artifact.type, artifact.name, row.version)
    graph, keys = await store.model(PLUGIN).run(_trace, root, max_depth)
    names = await run_names(store, keys)
    return Lineage(
        graph.root_artifact,
        [Node(node.node_type, node.node_id, node.label, _named(node, names)) for node in graph.nodes],
        [Edge(edge.source, edge.target, edge.edge_type, edge.created_at) for edge in graph.edges],
    )


def _trace(db: apsw.Connection, root: VersionKey, max_depth: int) -> tuple[LineageGraph, dict[str, str]]:
    facts = TableFacts(db)
    return trace(facts, root, max_depth), facts.keys


class TableFacts:
    """The facts of one moment, as the read model tells them. Names of runs are another plugin's, and are put in later."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db
        self.keys: dict[str, str] = {}
        """By id: the key of each run in the graph, or the id itself."""

    def version(self, key: VersionKey) -> VersionNode | None:
        """See `lineage.Facts`."""
        row = queries.version_node(self._db, key.type, key.name, key.version)
        if row is None:
            return None
        size, created_at, is_damaged, is_deleted, created_by_run = row
        status = "deleted" if is_deleted else "corrupted" if is_damaged else "ready"
        return VersionNode(size, created_at or None, status, created_by_run)

    def run(self, key: str) -> RunNode:
        """See `lineage.Facts`."""
        run_id = key.rpartition("/")[2]
        self.keys.setdefault(run_id, key)
        return RunNode(run_id, None, None)

    def run_named(self, run_id: str) -> str:
        """See `lineage.Facts`."""
        return queries.run_key_named(self._db, run_id) or run_id

    def created_by(self, run: str) -> Sequence[Link]:
        """See `lineage.Facts`."""
        return self._links(run, CREATED)

    def used_by(self, run: str) -> Sequence[Link]:
        """See `lineage.Facts`."""
        return self._links(run, USED)

    def uses_of(self, key: VersionKey) -> Sequence[Use]:
        """See `lineage.Facts`."""
        uses = [Use(run, at) for run, at in queries.runs_that_used(self._db, key.type, key.name, key.version)]
        return sorted(uses, key=lambda use: (use.at or 0.0, use.run.rpartition("/")[2], use.run))

    def _links(self, run: str, direction: str) -> list[Link]:
        entries = queries.run_artifacts(self._db, run, direction)
        return [Link(VersionKey(entry.type, entry.name, entry.version), entry.at) for entry in entries]


async def run_names(store: Store, keys: dict[str, str]) -> dict[str, tuple[str | None, str | None]]:
    """Project and name of runs, by id; those without a row are gone."""
    try:
        return await store.model("runs").run(_run_names, keys)
    except StorageUnavailable:  # the plugin is not enabled: directories tell, too
        runs = {run_id: run_at(key) for run_id, key in keys.items() if is_run_key(key)}
        return {run_id: (run.project, run.name) for run_id, run in runs.items()}


def _run_names(db: apsw.Connection, keys: dict[str, str]) -> dict[str, tuple[str | None, str | None]]:
    found: dict[str, tuple[str | None, str | None]] = {}
    for run_id, key in keys.items():
        rows = (
            db.execute("SELECT project, name FROM run WHERE key = ?", (key,)).fetchall()
            or db.execute(
                "SELECT run.project, run.name FROM run_named JOIN run USING (key) WHERE run_named.run_id = ?", (run_id,)
            ).fetchall()
        )
        if rows:
            found[run_id] = cast(tuple[str | None, str | None], rows[0])
    return found


def _named(node: LineageNode, names: dict[str, tuple[str | None, str | None]]) -> dict[str, Any]:
    if node.node_type != "run":
        return node.metadata
    project, name = names.get(node.node_id, (None, None))
    return {**node.metadata, "project": project, "name": name}
