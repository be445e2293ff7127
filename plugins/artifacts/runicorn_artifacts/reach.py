"""All that was made of a version, and all that it was made from: whole histories, however long.

`lineage` shows the neighbourhood of a version; here every version and run counts once, with its distance from the root,
and cycles end. The facts come from read models in the server, from folders on the command line.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from runicorn_artifacts.lineage import Facts, Link, VersionKey, VersionNode
from runicorn_artifacts.naming import type_order

MAX_VERSIONS = 10_000
"""More are not followed: then the answer says that it is not all."""


class ReachedVersion(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A version on the way."""

    artifact: str
    """`model/net:v3`"""
    type: str
    name: str
    version: int
    status: str
    size_bytes: int
    created_at: float | None
    created_by_run: str
    """Empty if it is unknown."""
    distance: int
    """How many runs lie between it and the root."""


class ReachedRun(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A run on the way."""

    run_id: str
    key: str
    """Where it is below the root; its id if it is gone."""
    distance: int
    used: list[str]
    made: list[str]


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """A version, and what can be reached from it in one direction."""

    root: ReachedVersion
    versions: list[ReachedVersion]
    runs: list[ReachedRun]
    is_all: bool

    def counts(self) -> dict[str, int]:
        """How many versions of each type were reached, models first."""
        found = Counter(version.type for version in self.versions)
        return {type: found[type] for type in sorted(found, key=type_order)}


def impact(facts: Facts, root: VersionKey) -> Reach | None:
    """Everything that was made of a version, directly or not: models first, then by distance. None if it is gone."""
    return _search(facts, root, is_downstream=True)


def ancestry(facts: Facts, root: VersionKey) -> Reach | None:
    """Everything that a version was made from, the nearest first. None if the version is gone."""
    return _search(facts, root, is_downstream=False)


def label(key: VersionKey) -> str:
    """How a version is called where types matter."""
    return f"{key.type}/{key.name}:v{key.version}"


def _search(facts: Facts, root: VersionKey, *, is_downstream: bool) -> Reach | None:
    """Breadth first: what is found first is nearest. Cost: what is reached, not what the store holds."""
    first = facts.version(root)
    if first is None:
        return None
    labels = _Labels()
    found: dict[VersionKey, ReachedVersion | None] = {root: _reached(root, first, 0, labels[root])}
    runs: dict[str, ReachedRun] = {}
    level, distance, is_all = [root], 0, True
    while level and is_all:
        distance += 1
        following: list[VersionKey] = []
        for key in level:
            for run in _runs_beside(facts, key, found[key], is_downstream):
                if run in runs:
                    continue
                used, made = facts.used_by(run), facts.created_by(run)
                runs[run] = ReachedRun(
                    run_id=facts.run(run).run_id,
                    key=run,
                    distance=distance,
                    used=labels.of(used),
                    made=labels.of(made),
                )
                for link in made if is_downstream else used:
                    if link.version in found:
                        continue
                    if len(found) >= MAX_VERSIONS:
                        is_all = False
                        break
                    version = facts.version(link.version)
                    found[link.version] = None
                    if version is not None:
                        found[link.version] = _reached(link.version, version, distance, labels[link.version])
                        following.append(link.version)
        level = following
    reached = found.pop(root)
    assert reached is not None
    others = [version for version in found.values() if version is not None]
    if is_downstream:
        places = {type: type_order(type) for type in {version.type for version in others}}
        others.sort(key=lambda version: (places[version.type], version.distance))
    return Reach(root=reached, versions=others, runs=list(runs.values()), is_all=is_all)


def _runs_beside(facts: Facts, key: VersionKey, version: ReachedVersion | None, is_downstream: bool) -> list[str]:
    if is_downstream:
        return [use.run for use in facts.uses_of(key)]
    return [facts.run_named(version.created_by_run)] if version is not None and version.created_by_run else []


def _reached(key: VersionKey, version: VersionNode, distance: int, artifact: str) -> ReachedVersion:
    return ReachedVersion(
        artifact=artifact,
        type=key.type,
        name=key.name,
        version=key.version,
        status=version.status,
        size_bytes=version.size_bytes,
        created_at=version.created_at,
        created_by_run=version.created_by_run,
        distance=distance,
    )


class _Labels(dict[VersionKey, str]):
    """The labels of versions, each put together once."""

    def __missing__(self, key: VersionKey) -> str:
        found = self[key] = label(key)
        return found

    def of(self, links: Sequence[Link]) -> list[str]:
        """Those of links, each once."""
        if len(links) == 1:
            return [self[links[0].version]]
        return list(dict.fromkeys([self[link.version] for link in links]))
