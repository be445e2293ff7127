"""The facts of lineage as the read model tells them: one recursive query brings a whole history, however long it is.

What was not brought is asked for one by one, so the answers are the same whatever was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import apsw

from runicorn_artifacts import queries
from runicorn_artifacts.entries import CREATED, USED
from runicorn_artifacts.lineage import Link, RunNode, Use, VersionKey, VersionNode
from runicorn_artifacts.reach import MAX_VERSIONS

_MAX_RUNS = 2 * MAX_VERSIONS
"""Longer histories are not brought: walks end before."""

_RUNS_DOWNSTREAM = """
    SELECT run, :step FROM run_artifact
        WHERE name = :name AND type = :type AND version = :version AND direction = 'used'
    UNION
    SELECT used.run, reached.depth + :step FROM reached
        CROSS JOIN run_artifact AS made ON made.run = reached.run AND made.direction = 'created'
        CROSS JOIN run_artifact AS used ON used.name = made.name AND used.type = made.type
            AND used.version = made.version AND used.direction = 'used'
        WHERE reached.depth < :depth
"""
_MAKER = "(SELECT min(run) FROM run_artifact WHERE run_id = v.created_by_run)"
_RUNS_UPSTREAM = f"""
    SELECT {_MAKER}, :step FROM artifact_version AS v
        WHERE v.name = :name AND v.type = :type AND v.version = :version AND v.has_metadata
    UNION
    SELECT {_MAKER}, reached.depth + :step FROM reached
        CROSS JOIN run_artifact AS used ON used.run = reached.run AND used.direction = 'used'
        CROSS JOIN artifact_version AS v ON v.name = used.name AND v.type = used.type AND v.version = used.version
        WHERE reached.depth < :depth AND v.has_metadata
"""
_HISTORY = """
    WITH RECURSIVE reached(run, depth) AS ({runs} LIMIT :limit)
    SELECT a.run, r.depth < :depth, a.direction, a.position, a.type, a.name, a.version, a.at, v.size_bytes, v.created_at,
        v.is_damaged, v.deleted_at IS NOT NULL, v.created_by_run, {maker}
        FROM (SELECT run, min(depth) AS depth FROM reached GROUP BY run) AS r
        CROSS JOIN run_artifact AS a ON a.run = r.run
        LEFT JOIN artifact_version AS v ON a.direction = '{followed}' AND v.name = a.name AND v.type = a.type
            AND v.version = a.version AND v.has_metadata
        ORDER BY a.run, a.direction, a.position, v.key
"""
_DOWNSTREAM = _HISTORY.format(runs=_RUNS_DOWNSTREAM, maker="NULL", followed=CREATED)
_UPSTREAM = _HISTORY.format(runs=_RUNS_UPSTREAM, maker=_MAKER, followed=USED)


class TableFacts:
    """The facts of one moment. Names of runs are another plugin's, and are put in later."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db
        self.keys: dict[str, str] = {}
        """By id: the key of each run in the graph, or the id itself."""
        self._versions: dict[VersionKey, VersionNode | None] = {}
        self._links: dict[tuple[str, str], list[Link]] = {}
        self._uses: dict[VersionKey, list[Use]] = {}
        self._named: dict[str, str] = {}

    def bring_downstream(self, root: VersionKey, depth: int | None = None) -> None:
        """Bring what was made of a version, `depth` steps far (None: all of it)."""
        followed = self._bring(_DOWNSTREAM, root, depth)
        if followed is None:
            return
        complete = {root}
        uses: dict[VersionKey, dict[str, float | None]] = {}
        for run, is_followed in followed.items():
            if is_followed:
                complete.update(link.version for link in self._links[run, CREATED])
            for link in self._links[run, USED]:
                at = uses.setdefault(link.version, {})
                known = at.get(run)
                at[run] = link.at if known is None or (link.at is not None and link.at < known) else known
        for key in complete:
            self._uses[key] = _in_order([Use(run, at) for run, at in uses.get(key, {}).items()])

    def bring_upstream(self, root: VersionKey, depth: int | None = None) -> None:
        """Bring what a version was made from, `depth` steps far (None: all of it)."""
        self._bring(_UPSTREAM, root, depth)

    def version(self, key: VersionKey) -> VersionNode | None:
        """See `lineage.Facts`."""
        if key not in self._versions:
            row = queries.version_node(self._db, key.type, key.name, key.version)
            self._versions[key] = None if row is None else _node(*row)
        return self._versions[key]

    def run(self, key: str) -> RunNode:
        """See `lineage.Facts`."""
        run_id = key.rpartition("/")[2]
        self.keys.setdefault(run_id, key)
        return RunNode(run_id, None, None)

    def run_named(self, run_id: str) -> str:
        """See `lineage.Facts`."""
        if run_id not in self._named:
            self._named[run_id] = queries.run_key_named(self._db, run_id) or run_id
        return self._named[run_id]

    def created_by(self, run: str) -> Sequence[Link]:
        """See `lineage.Facts`."""
        return self._links_of(run, CREATED)

    def used_by(self, run: str) -> Sequence[Link]:
        """See `lineage.Facts`."""
        return self._links_of(run, USED)

    def uses_of(self, key: VersionKey) -> Sequence[Use]:
        """See `lineage.Facts`."""
        if key not in self._uses:
            found = queries.runs_that_used(self._db, key.type, key.name, key.version)
            self._uses[key] = _in_order([Use(run, at) for run, at in found])
        return self._uses[key]

    def _links_of(self, run: str, direction: str) -> Sequence[Link]:
        if (run, direction) not in self._links:
            entries = queries.run_artifacts(self._db, run, direction)
            self._links[run, direction] = [
                Link(VersionKey(entry.type, entry.name, entry.version), entry.at) for entry in entries
            ]
        return self._links[run, direction]

    def _bring(self, sql: str, root: VersionKey, depth: int | None) -> dict[str, bool] | None:
        """The runs that were brought, and whether those beyond them were, too; None if there are too many runs."""
        parameters = {
            "name": root.name,
            "type": root.type,
            "version": root.version,
            "step": 0 if depth is None else 1,
            "depth": 1 if depth is None else depth,
            "limit": _MAX_RUNS,
        }
        runs: dict[str, bool] = {}
        last = ("", "", -1)
        rows = cast(list[tuple[Any, ...]], self._db.execute(sql, parameters).fetchall())
        for run, is_followed, direction, position, type, name, version, at, *node, maker in rows:
            if run not in runs:
                runs[run] = bool(is_followed)
                self._links[run, CREATED], self._links[run, USED] = [], []
            if last == (run, direction, position):  # another folder of the same type and name: the first one counts
                continue
            last = (run, direction, position)
            key = VersionKey(type, name, version)
            self._links[run, direction].append(Link(key, at))
            if node[0] is not None:
                found = self._versions[key] = _node(*node)
                if maker is not None:
                    self._named[found.created_by_run] = maker
                elif sql is _UPSTREAM:
                    self._named[found.created_by_run] = found.created_by_run
        return runs if len(runs) < _MAX_RUNS else None


def _node(size_bytes: int, created_at: float, is_damaged: int, is_deleted: int, created_by_run: str) -> VersionNode:
    status = "deleted" if is_deleted else "corrupted" if is_damaged else "ready"
    return VersionNode(size_bytes, created_at or None, status, created_by_run)


def _in_order(uses: list[Use]) -> list[Use]:
    """By time, then by the run's id."""
    return sorted(uses, key=lambda use: (use.at or 0.0, use.run.rpartition("/")[2], use.run))
