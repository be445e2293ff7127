"""Histories out of the read model: the same as one question after the other gives, in a handful of queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runicorn_artifacts.lineage import VersionKey, trace
from runicorn_artifacts.projections.artifact_versions import ArtifactVersions
from runicorn_artifacts.projections.run_artifacts import RunArtifacts
from runicorn_artifacts.reach import ancestry, impact
from runicorn_artifacts.table_facts import TableFacts

Runs = Mapping[str, tuple[Sequence[int], Sequence[int]]]
"""By id: versions that a run used, and versions that it made."""

LONG = 3000


def key(number: int) -> VersionKey:
    return VersionKey("model", "net", number)


def tables(runs: Runs, *, missing: Sequence[int] = (), deleted: Sequence[int] = ()) -> apsw.Connection:
    """The tables of the read model with these runs; `missing` versions are gone, and some runs are nowhere."""
    db = apsw.Connection(":memory:")
    db.execute(ArtifactVersions.tables_schema + RunArtifacts.tables_schema)
    makers = {version: run for run, (_, made) in runs.items() for version in made}
    versions = {version for used, made in runs.values() for version in (*used, *made)} - set(missing)
    for version in versions:
        gone = 5.0 if version in deleted else None
        columns = (1.0, 1.0, makers.get(version, "nobody"), 7, 0, 7, 1, 0, 0, 1, gone, "experimental", None, b"{}")
        for folder in ("model", "ArtifactType.MODEL")[: 1 + (version % 5 == 0)]:
            row = (f"artifacts/{folder}/net", version, "model", "net", *columns)
            db.execute(f"INSERT INTO artifact_version VALUES ({', '.join('?' * len(row))})", row)
    for run, (used, made) in runs.items():
        for direction, listed in (("used", used), ("created", made)):
            for position, version in enumerate(listed):
                at = None if version % 7 == 0 else float(100 - version)
                row = (f"p/n/runs/{run}", direction, position, "model", "net", version, 1, at, run)
                db.execute("INSERT INTO run_artifact VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    return db


VERSIONS = st.lists(st.integers(1, 10), max_size=4)
HISTORIES = st.dictionaries(st.sampled_from(["a", "b", "c", "d", "e", "f"]), st.tuples(VERSIONS, VERSIONS))


@settings(max_examples=150, deadline=None)
@given(HISTORIES, st.integers(0, 5), VERSIONS, VERSIONS)
def test_what_is_brought_at_once_is_what_one_by_one_gives(
    runs: Runs, depth: int, missing: list[int], deleted: list[int]
) -> None:
    db = tables(runs, missing=missing, deleted=deleted)
    one_by_one, both = TableFacts(db), TableFacts(db)
    both.bring_upstream(key(1), depth)
    both.bring_downstream(key(1), depth)
    assert trace(both, key(1), depth) == trace(one_by_one, key(1), depth)
    down, up = TableFacts(db), TableFacts(db)
    down.bring_downstream(key(1))
    up.bring_upstream(key(1))
    assert impact(down, key(1)) == impact(one_by_one, key(1))
    assert ancestry(up, key(1)) == ancestry(one_by_one, key(1))
    db.close()


def counted(db: apsw.Connection) -> list[str]:
    found: list[str] = []

    def note(_: apsw.Cursor, sql: str, bindings: Any) -> bool:
        found.append(sql)
        return True

    db.exec_trace = note
    return found


CHAIN: Runs = {f"r{number:05}": ([number], [number + 1]) for number in range(1, LONG)}
STAR: Runs = {f"r{number:05}": ([1], [number + 1]) for number in range(1, LONG)}


@pytest.mark.parametrize("runs", [CHAIN, STAR], ids=["chain", "star"])
def test_a_history_of_thousands_takes_a_handful_of_queries(runs: Runs) -> None:
    db = tables(runs)
    count = counted(db)
    facts = TableFacts(db)
    facts.bring_downstream(key(1))
    found = impact(facts, key(1))
    assert found is not None
    assert len(found.versions) == LONG - 1
    assert len(count) <= 3
    count.clear()
    facts = TableFacts(db)
    facts.bring_upstream(key(LONG))
    before = ancestry(facts, key(LONG))
    assert before is not None
    assert len(before.versions) == (LONG - 1 if runs is CHAIN else 1)
    assert len(count) <= 5
    count.clear()
    facts = TableFacts(db)
    facts.bring_upstream(key(1), 3)
    facts.bring_downstream(key(1), 3)
    assert len(trace(facts, key(1), 3).nodes) == (8 if runs is CHAIN else 2 * LONG)
    assert len(count) <= 8
    db.close()
