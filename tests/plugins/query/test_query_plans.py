"""How SQLite finds runs: never by looking at all wide rows, and a test of a query by one key's range."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from runicorn.projection.model import ReadModel
from runicorn_query import analytics, queries
from runicorn_query.experiments import View
from runicorn_query.filters import Filter, split_list
from runicorn_query.language import parse
from runicorn_query.limits import limited
from runicorn_query.ordering import Cursor, Order
from runicorn_runs.projections.metric_points import MetricPoints
from runicorn_runs.projections.run_list import RunList
from runicorn_runs.projections.run_values import RunValues

ORDERS = [
    "created_at", "created_time", "updated_at", "started_at", "ended_at", "duration_seconds", "best_metric_value",
    "best_metric_step", "metric_count", "status", "project", "name", "id", "metric.loss.min", "summary.acc", "config.lr",
]  # fmt: skip
FILTERS = {
    "none": Filter(),
    "project": Filter(project="p"),
    "name": Filter(name="n"),
    "statuses": Filter(statuses=split_list("a,b")),
    "tags": Filter(tags=split_list("a,b")),
    "search": Filter(search="x"),
    "created": Filter(created_after=1.0, created_before=2.0),
    "best": Filter(best_metric_min=1.0, best_metric_max=2.0),
    "deleted": Filter(include_deleted=True),
    "columns": Filter(expression=parse("project = a and (name ~ b or created > 7d) and not duration < 1h")),
    "values": Filter(expression=parse("metric.loss.min < 1 and (config.lr = 1 or not summary.x ~ y) and tag = z")),
    "description": Filter(expression=parse("description ~ x or description exists")),
}


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[apsw.Connection]:
    model = ReadModel(tmp_path_factory.mktemp("plans") / "m.db", "runs", [RunList(), MetricPoints(), RunValues()])
    yield model.connection
    model.close()


def plan(db: apsw.Connection, statement: str) -> list[str]:
    with limited(db):
        return [str(row[3]) for row in db.execute(f"EXPLAIN QUERY PLAN {statement}", _Anything())]


class _Anything(dict[str, None]):
    def __missing__(self, name: str) -> None:
        return None


def assert_no_scan_of_runs(steps: list[str]) -> None:
    """`b` is the narrow `run_brief`, and `t` the tags, which a facet counts."""
    scans = [step for step in steps if step.startswith(("SCAN run", "SCAN r ", "SCAN b", "SCAN t"))]
    assert all(step in ("SCAN b", "SCAN t") or "run_described" in step or "SCAN r" not in step for step in scans), steps
    assert "SCAN r" not in steps
    assert "SCAN run" not in steps


@pytest.mark.parametrize("wanted", FILTERS.values(), ids=FILTERS)
def test_no_list_count_or_facet_looks_at_every_row_of_run(db: apsw.Connection, wanted: Filter) -> None:
    condition = wanted.condition()
    for order in ORDERS:
        for after in (None, Cursor(order, True, [1.0] * len(Order(order).keys()[0]), ("a", "a", 1))):
            page = queries.Wanted(wanted, Order(order), limit=50, after=after)
            assert_no_scan_of_runs(plan(db, queries.sorted_statement(condition, page)))
            assert_no_scan_of_runs(plan(db, queries.total_statement(condition, page)))
    assert_no_scan_of_runs(plan(db, queries.count_statement(condition)))
    assert plan(db, queries.walk_statement(condition, ""))[0] == "SCAN r USING INDEX run_newest"
    for statement in queries.facet_statements(condition).values():
        assert_no_scan_of_runs(plan(db, statement))


def test_a_test_of_a_value_reads_the_range_of_its_key(db: apsw.Connection) -> None:
    steps = plan(db, queries.count_statement(FILTERS["values"].condition()))
    assert steps.count("SEARCH v USING PRIMARY KEY (key=?)") == 3
    assert any(step.startswith("SEARCH t USING PRIMARY KEY (tag=?)") for step in steps)


@pytest.mark.parametrize("project", [None, "p"])
@pytest.mark.parametrize("statuses", [(), ("a",)])
@pytest.mark.parametrize("after", [None, 5.0, "none"])
def test_the_newest_are_found_in_an_index(
    db: apsw.Connection, project: str | None, statuses: tuple[str, ...], after: object
) -> None:
    wanted = Filter(project=project, statuses=statuses)
    cursor = None if after is None else Cursor("created_at", True, [None if after == "none" else 5.0], ("a", "a", 1))
    statements: list[str] = []

    def trace(cursor: apsw.Cursor, sql: str, bindings: object) -> bool:
        statements.append(sql)
        return True

    db.exec_trace = trace
    try:
        queries.newest(db, View(Path("/"), 0.0), queries.Wanted(wanted, Order(), limit=50, after=cursor))
    finally:
        db.exec_trace = None
    lists = [sql for sql in statements if "run_brief" in sql]
    assert lists
    for sql in lists:
        steps = plan(db, sql)
        assert " INDEX run_newest" in steps[0], steps
        assert not any("FOR ORDER BY" in step and "LAST" not in step for step in steps), steps


def test_analytics_look_at_narrow_rows(db: apsw.Connection) -> None:
    for statement in (analytics.PROJECTS, analytics.BEST.format(bound="max", is_min=0), analytics.TREND):
        assert_no_scan_of_runs(plan(db, statement))
    assert plan(db, analytics.TREND)[0] == "SEARCH m USING PRIMARY KEY (key=?)"
