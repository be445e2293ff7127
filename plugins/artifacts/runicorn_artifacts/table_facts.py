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
    SELECT a.run, r.depth < :depth, a.direction = 'created', a.position, a.type, a.name, a.version, a.at,
        v.size_bytes, v.created_at, v.is_damaged, v.deleted_at IS NOT NULL, v.created_by_run, {maker}
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
        self._created: dict[str, list[Link]] = {}
        self._used: dict[str, list[Link]] = {}
        self._uses: dict[VersionKey, list[Use]] = {}
        self._named: dict[str, str] = {}

    def bring_downstream(self, root: VersionKey, depth: int | None = None) -> None:
        """Bring what was made of a version, `depth` steps far (None: all of it)."""
        followed = self._bring(_DOWNSTREAM, root, depth)
        if followed is None:
            return
        complete = {root}
        users: dict[VersionKey, list[Use]] = {}
        for run, is_followed in followed.items():
            if is_followed:
                for link in self._created[run]:
                    complete.add(link.version)
            for link in self._used[run]:
                uses = users.get(link.version)
                if uses is None:
                    users[link.version] = [Use(run, link.at)]
                elif uses[-1].run == run:  # it has used the version before
                    times = [at for at in (uses.pop().at, link.at) if at is not None]
                    uses.append(Use(run, min(times, default=None)))
                else:
                    uses.append(Use(run, link.at))
        for key in complete:
            self._uses[key] = _in_order(users.get(key, []))

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
        return self._links_of(run, CREATED, self._created)

    def used_by(self, run: str) -> Sequence[Link]:
        """See `lineage.Facts`."""
        return self._links_of(run, USED, self._used)

    def uses_of(self, key: VersionKey) -> Sequence[Use]:
        """See `lineage.Facts`."""
        if key not in self._uses:
            found = queries.runs_that_used(self._db, key.type, key.name, key.version)
            self._uses[key] = _in_order([Use(run, at) for run, at in found])
        return self._uses[key]

    def _links_of(self, run: str, direction: str, known: dict[str, list[Link]]) -> Sequence[Link]:
        links = known.get(run)
        if links is None:
            entries = queries.run_artifacts(self._db, run, direction)
            links = known[run] = [Link(VersionKey(e.type, e.name, e.version), e.at) for e in entries]
        return links

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
        keys: dict[tuple[str, str, int], VersionKey] = {}
        before_run: str | None = None
        before_links: list[Link] | None = None
        before_position = -1
        is_upstream = sql is _UPSTREAM
        created: list[Link] = []
        used: list[Link] = []
        rows = cast(list[tuple[Any, ...]], self._db.execute(sql, parameters).fetchall())
        for (
            run, is_followed, is_creation, position, type, name, version, at,
            size_bytes, created_at, is_damaged, is_deleted, created_by_run, maker,
        ) in rows:  # fmt: skip
            if run != before_run:
                before_run = run
                runs[run] = bool(is_followed)
                created = self._created[run] = []
                used = self._used[run] = []
            links = created if is_creation else used
            if links is before_links and position == before_position:
                continue  # another folder of that type and name: the first one counts
            before_links, before_position = links, position
            identity = type, name, version
            key = keys.get(identity)
            if key is None:
                key = keys[identity] = VersionKey(type, name, version)
            links.append(Link(key, at))
            if size_bytes is not None:
                self._versions[key] = _node(size_bytes, created_at, is_damaged, is_deleted, created_by_run)
                if maker is not None:
                    self._named[created_by_run] = maker
                elif is_upstream:
                    self._named[created_by_run] = created_by_run
        return runs if len(runs) < _MAX_RUNS else None


def _node(size_bytes: int, created_at: float, is_damaged: int, is_deleted: int, created_by_run: str) -> VersionNode:
    status = "deleted" if is_deleted else "corrupted" if is_damaged else "ready"
    return VersionNode(size_bytes, created_at or None, status, created_by_run)


def _in_order(uses: list[Use]) -> list[Use]:
    """By time, then by the run's id."""
    if len(uses) < 2:
        return uses
    return sorted(uses, key=lambda use: (use.at or 0.0, use.run.rpartition("/")[2], use.run))
