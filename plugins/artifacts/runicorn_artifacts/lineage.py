"""Which runs and artifacts a version came from, and what was made of it.

    artifact ──uses──▶ run ──produces──▶ artifact

The walk is the same wherever the facts come from: read models in the server, folders in Python.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, cast

import msgspec

from runicorn.plugin import number

# Histories have thousands of these, none of which can be part of a cycle of references: the collector of such cycles, which
# would take a third of the time of an answer, need not know them (`gc=False`).

MAX_DEPTH = 10

_LABEL_CHARACTERS = 16


class VersionKey(msgspec.Struct, frozen=True, cache_hash=True, gc=False):
    """One version of one artifact."""

    type: str
    name: str
    version: int


class VersionNode(msgspec.Struct, frozen=True, gc=False):
    """What lineage shows of a version."""

    size_bytes: int
    created_at: float | None
    status: str
    created_by_run: str
    """A run's id; empty if it is unknown."""


class RunNode(msgspec.Struct, frozen=True, gc=False):
    """What lineage shows of a run. Its project and name are None if its folder is gone."""

    run_id: str
    project: str | None
    name: str | None


class Link(msgspec.Struct, frozen=True, gc=False):
    """A version that a run has made or used, and when, as the run noted it."""

    version: VersionKey
    at: float | None


class Use(msgspec.Struct, frozen=True, gc=False):
    """A run that has used a version, and when."""

    run: str
    """The run's key."""
    at: float | None


class Facts(Protocol):
    """What the walk asks."""

    def version(self, key: VersionKey) -> VersionNode | None:
        """A version; None if its folder or its metadata is gone."""
        ...

    def run(self, key: str) -> RunNode:
        """A run by its key."""
        ...

    def run_named(self, run_id: str) -> str:
        """The key of the run that an id means; the id itself if there is no such run."""
        ...

    def created_by(self, run: str) -> Sequence[Link]:
        """What a run has made, in its order."""
        ...

    def used_by(self, run: str) -> Sequence[Link]:
        """What a run has used, in its order."""
        ...

    def uses_of(self, key: VersionKey) -> Sequence[Use]:
        """The runs that have used a version, by time, then id."""
        ...


@dataclass
class LineageNode:
    """An artifact version, or a run."""

    node_type: str
    """`artifact` or `run`."""
    node_id: str
    label: str
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])

    def to_dict(self) -> dict[str, Any]:
        """As JSON shows it."""
        return dict(vars(self))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """From the JSON object."""
        metadata: object = data.get("metadata")
        fields = dict(cast(Mapping[str, Any], metadata)) if isinstance(metadata, dict) else {}
        return cls(str(data.get("node_type", "")), str(data.get("node_id", "")), str(data.get("label", "")), fields)


@dataclass
class LineageEdge:
    """`source` was used by, or has produced, `target`."""

    source: str
    target: str
    edge_type: str
    """`uses` or `produces`."""
    created_at: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON shows it."""
        return dict(vars(self))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """From the JSON object."""
        source, target, edge_type = (str(data.get(name, "")) for name in ("source", "target", "edge_type"))
        return cls(source, target, edge_type, number(data.get("created_at")))


@dataclass
class LineageGraph:
    """Nodes and edges around one version, each once, in the order in which the walk found them."""

    root_artifact: str
    nodes: list[LineageNode] = field(default_factory=list[LineageNode])
    edges: list[LineageEdge] = field(default_factory=list[LineageEdge])

    def add_node(self, node: LineageNode) -> None:
        """Add a node, unless there is one of the same kind and id."""
        if all((node.node_type, node.node_id) != (known.node_type, known.node_id) for known in self.nodes):
            self.nodes.append(node)

    def add_edge(self, edge: LineageEdge) -> None:
        """Add an edge, unless there is the same one."""
        if all(_ends(edge) != _ends(known) for known in self.edges):
            self.edges.append(edge)

    def to_dict(self) -> dict[str, Any]:
        """As JSON shows it."""
        return {
            "root_artifact": self.root_artifact,
            "nodes": [node.to_dict() for node in self.nodes],
            "edges": [edge.to_dict() for edge in self.edges],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """From the JSON object."""
        nodes = [LineageNode.from_dict(item) for item in cast(list[Mapping[str, Any]], data.get("nodes") or [])]
        edges = [LineageEdge.from_dict(item) for item in cast(list[Mapping[str, Any]], data.get("edges") or [])]
        return cls(str(data.get("root_artifact", "")), nodes, edges)


def trace(facts: Facts, root: VersionKey, max_depth: int) -> LineageGraph:
    """What `root` came from and what was made of it, at most `max_depth` steps (artifact, run, artifact) away.

    The graph has no nodes if there is no such version. Cost: what the graph shows, not what the store holds.
    """
    walk = _Walk(facts, root)
    if walk.artifact(root) is not None:
        depth = max(0, min(max_depth, MAX_DEPTH))
        walk.upstream(root, depth)
        walk.downstream(root, depth)
    return walk.graph()


class _Walk:
    """One walk, depth-first; at most `MAX_DEPTH` steps deep, so cycles end."""

    def __init__(self, facts: Facts, root: VersionKey) -> None:
        self._facts = facts
        self._graph = LineageGraph(f"{root.name}:v{root.version}")
        self._ids: dict[VersionKey, str] = {}
        self._versions: dict[VersionKey, VersionNode | None] = {}
        self._taken: set[str] = set()
        self._edges: set[tuple[str, str, str]] = set()
        self._followed: tuple[dict[VersionKey, int], dict[VersionKey, int]] = {}, {}
        """Upstream and downstream: with how many steps left a version was followed."""

    def graph(self) -> LineageGraph:
        """What was found."""
        return self._graph

    def artifact(self, key: VersionKey) -> str | None:
        """The id of a version's node, which is added on first sight; None if the version is gone."""
        if key in self._versions:
            return self._ids.get(key)
        version = self._versions[key] = self._facts.version(key)
        if version is None:
            return None
        node_id = f"{key.name}:v{key.version}"
        if node_id in self._taken:
            node_id = f"{key.type}/{node_id}"
        self._taken.add(node_id)
        self._ids[key] = node_id
        metadata = {
            "type": key.type,
            "size": version.size_bytes,
            "created_at": version.created_at,
            "status": version.status,
        }
        self._graph.nodes.append(LineageNode("artifact", node_id, f"{key.name} v{key.version}", metadata))
        return node_id

    def upstream(self, key: VersionKey, steps: int) -> None:
        """The run that made a version, what that has used, and so on."""
        version = self._versions[key]
        if version is None or not version.created_by_run or not self._is_to_be_followed(key, steps, 0):
            return
        run = self._facts.run_named(version.created_by_run)
        run_id = self._run(run)
        self._edge(run_id, self._ids[key], "produces", version.created_at)
        for used in self._facts.used_by(run):
            source = self.artifact(used.version)
            if source is not None:
                self._edge(source, run_id, "uses", used.at)
                self.upstream(used.version, steps - 1)

    def downstream(self, key: VersionKey, steps: int) -> None:
        """The runs that have used a version, what those have made, and so on."""
        if not self._is_to_be_followed(key, steps, 1):
            return
        for use in self._facts.uses_of(key):
            run_id = self._run(use.run)
            self._edge(self._ids[key], run_id, "uses", use.at)
            for made in self._facts.created_by(use.run):
                target = self.artifact(made.version)
                version = self._versions[made.version]
                if target is not None and version is not None:
                    self._edge(run_id, target, "produces", version.created_at)
                    self.downstream(made.version, steps - 1)

    def _is_to_be_followed(self, key: VersionKey, steps: int, direction: int) -> bool:
        """Whether that leads further than before; a way with more steps left may come later than one with fewer."""
        followed = self._followed[direction]
        if steps <= followed.get(key, 0):
            return False
        followed[key] = steps
        return True

    def _run(self, key: str) -> str:
        run = self._facts.run(key)
        if f"run {run.run_id}" not in self._taken:
            self._taken.add(f"run {run.run_id}")
            is_long = len(run.run_id) > _LABEL_CHARACTERS
            label = f"Run {run.run_id[:_LABEL_CHARACTERS]}..." if is_long else f"Run {run.run_id}"
            metadata = {"run_id": run.run_id, "project": run.project, "name": run.name}
            self._graph.nodes.append(LineageNode("run", run.run_id, label, metadata))
        return run.run_id

    def _edge(self, source: str, target: str, edge_type: str, created_at: float | None) -> None:
        if (source, target, edge_type) not in self._edges:
            self._edges.add((source, target, edge_type))
            self._graph.edges.append(LineageEdge(source, target, edge_type, created_at))


def _ends(edge: LineageEdge) -> tuple[str, str, str]:
    return edge.source, edge.target, edge.edge_type
