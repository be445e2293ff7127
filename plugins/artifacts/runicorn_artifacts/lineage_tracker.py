"""Lineage from folders, without a server: the artifact lists of all runs are read once."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from runicorn.plugin import (
    ARTIFACTS_CREATED_FILE,
    ARTIFACTS_USED_FILE,
    META_FILE,
    find_runs,
    read_json_object,
    run_at,
)
from runicorn_artifacts.entries import DIRECTIONS, read_entries
from runicorn_artifacts.lineage import LineageGraph, Link, RunNode, Use, VersionKey, VersionNode, trace
from runicorn_artifacts.lookup import Lookup


class LineageTracker:
    """Tells what a version came from and what was made of it."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self._root = Path(root)

    def build_lineage_graph(self, name: str, type: str, version: int, max_depth: int = 3) -> LineageGraph:
        """The graph around a version. It has no nodes if there is no such version."""
        return trace(FolderFacts(self._root), VersionKey(str(type), name, version), max_depth)


class FolderFacts:
    """The facts of one moment, as files tell them: those of the runs in `root`, and of the artifacts there or elsewhere."""

    def __init__(self, root: Path, lookup: Lookup | None = None) -> None:
        self._root = root
        self._lookup = Lookup(root) if lookup is None else lookup
        self._links: dict[tuple[str, str], list[Link]] = {}

    def version(self, key: VersionKey) -> VersionNode | None:
        """See `lineage.Facts`."""
        folder = self._lookup.at(key.type, key.name)
        metadata = folder.metadata(key.version) if folder.path.is_dir() and key.version > 0 else None
        record = None if metadata is None else folder.record(key.version)
        if metadata is None or record is None:
            return None
        created_at = record.created_at if "created_at" in metadata else None
        return VersionNode(record.size_bytes, created_at, folder.status(key.version), record.created_by_run)

    def run(self, key: str) -> RunNode:
        """See `lineage.Facts`."""
        if key not in self._keys:
            return RunNode(key.rpartition("/")[2], None, None)
        run = run_at(key)
        meta = read_json_object(self._root / key / META_FILE) or {}
        return RunNode(run.run_id, *run.names(meta.get("project"), meta.get("name")))

    def run_named(self, run_id: str) -> str:
        """See `lineage.Facts`."""
        return self._by_id.get(run_id, run_id)

    def created_by(self, run: str) -> Sequence[Link]:
        """See `lineage.Facts`."""
        return self._read(run, ARTIFACTS_CREATED_FILE)

    def used_by(self, run: str) -> Sequence[Link]:
        """See `lineage.Facts`."""
        return self._read(run, ARTIFACTS_USED_FILE)

    def uses_of(self, key: VersionKey) -> Sequence[Use]:
        """See `lineage.Facts`."""
        return sorted(self._uses[key], key=lambda use: (use.at or 0.0, use.run.rpartition("/")[2], use.run))

    @cached_property
    def _keys(self) -> frozenset[str]:
        return frozenset(run.key for run in find_runs(self._root))

    @cached_property
    def _by_id(self) -> dict[str, str]:
        # Of several runs with one id, the first by key.
        return {key.rpartition("/")[2]: key for key in sorted(self._keys, reverse=True)}

    @cached_property
    def _uses(self) -> dict[VersionKey, list[Use]]:
        uses: defaultdict[VersionKey, list[Use]] = defaultdict(list)
        for run in self._keys:
            seen: set[VersionKey] = set()
            for link in self._read(run, ARTIFACTS_USED_FILE):
                if link.version not in seen:
                    seen.add(link.version)
                    uses[link.version].append(Use(run, link.at))
        return uses

    def _read(self, run: str, file: str) -> list[Link]:
        """What a list of a run says, read once."""
        known = self._links.get((run, file))
        if known is None:
            content = read_json_object(self._root / run / file) if run in self._keys else None
            known = self._links[run, file] = [
                Link(VersionKey(entry.type, entry.name, entry.version), entry.at)
                for entry in read_entries(content, DIRECTIONS[file])
            ]
        return known
