"""What queries of the read model cost: as much as they show."""

from __future__ import annotations

from collections.abc import Iterator

import apsw
import pytest

from runicorn_artifacts import queries
from runicorn_artifacts.projections.artifact_versions import ArtifactVersions

KEY = "artifacts/model/net"


@pytest.fixture
def db() -> Iterator[apsw.Connection]:
    db = apsw.Connection(":memory:")
    for _ in db.execute(ArtifactVersions.tables_schema):
        pass
    db.execute("INSERT INTO artifact VALUES (?, 'model', 'net', '0 model', 1, 1)", (KEY,))
    rows = [
        (KEY, n, "model", "net", 1.0, 1.0, f"r{n}", n, 0, 1, 1, 0, 0, 1, None, "experimental", None, b'{"n":%d}' % n)
        for n in range(1, 301)
    ]
    db.executemany(f"INSERT INTO artifact_version VALUES ({', '.join('?' * 18)})", rows)
    yield db
    db.close()


def steps(db: apsw.Connection, query: object, *arguments: object) -> int:
    """How many instructions of SQLite's machine a query takes."""
    total = 0

    def profile(trace: dict[str, object]) -> None:
        nonlocal total
        total += trace["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"]  # type: ignore[index]  # there is a row

    db.trace_v2(apsw.SQLITE_TRACE_PROFILE, profile)
    query(db, *arguments)  # type: ignore[operator]  # given by the parameters
    db.trace_v2(0, None)
    return total


def test_one_version_is_found_by_its_number(db: apsw.Connection) -> None:
    plans: list[str] = []

    def tell(trace: dict[str, object]) -> None:
        plans.append(str(trace["sql"]))

    db.trace_v2(apsw.SQLITE_TRACE_STMT, tell)
    found = queries.version(db, KEY, 7)
    db.trace_v2(0, None)
    assert found is not None
    assert (found.version, found.size_bytes, found.details) == (7, 7, b'{"n":7}')
    [sql] = plans
    plan = [str(row[3]) for row in db.execute(f"EXPLAIN QUERY PLAN {sql}", (KEY, 7)).fetchall()]
    assert plan == ["SEARCH artifact_version USING PRIMARY KEY (key=? AND version=?)"]
    assert queries.version(db, KEY, 301) is None


@pytest.mark.parametrize(
    ("query", "arguments"),
    [(queries.version, (KEY, 250)), (queries.candidates, ("net", None)), (queries.latest_version, (KEY,)),
     (queries.aliases_by_version, (KEY,))],
)  # fmt: skip
def test_what_is_asked_for_one_version_costs_no_look_at_all(
    db: apsw.Connection, query: object, arguments: tuple[object, ...]
) -> None:
    assert steps(db, query, *arguments) < 150 < steps(db, queries.versions, KEY)


def test_lists_leave_out_what_they_do_not_show(db: apsw.Connection) -> None:
    found, aliases = queries.versions_and_aliases(db, KEY)
    assert [row.version for row in found] == list(range(1, 301))
    assert not hasattr(found[0], "details")
    assert aliases == {300: ["latest"]}
