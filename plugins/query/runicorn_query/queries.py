"""Tables → structs: the SQL behind lists and details.

The tables are those of the `runs` plugin: `run`, `run_count` and `run_tag` of its `run_list`, the narrow `run_brief` and the
values beside it of its `run_values`. The newest runs of a project or status are found by an index of `run`; everything else
looks at `run_brief`, never at all rows of `run`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

import apsw

from runicorn.plugin import NotFound, RunNotFound, dump_json, shown
from runicorn_query.experiments import (
    COLUMNS,
    Experiment,
    Facets,
    MetricsSummary,
    StepRange,
    read_experiment,
)
from runicorn_query.filters import Filter, Parameters
from runicorn_query.limits import limited
from runicorn_query.ordering import TIES, Cursor, Order, behind, sorted_by

_FACETS = 1000  # values of a facet, the most frequent ones


class ExperimentNotFound(NotFound):
    """No run has this id, not even in the recycle bin."""

    def __init__(self, exp_id: str) -> None:
        super().__init__(f"Experiment {shown(exp_id)} not found")


class Wanted(NamedTuple):
    """A page of a list."""

    filter: Filter
    order: Order
    limit: int
    offset: int = 0
    after: Cursor | None = None
    """Go on behind this run; `offset` is 0 then."""
    facets: bool = False


class Found(NamedTuple):
    """One page, and what there is on all of them."""

    experiments: list[Experiment]
    total: int
    next: Cursor | None
    """The last run of the page; None if there is nothing behind it."""
    facets: Facets | None


def newest(db: apsw.Connection, root: Path, wanted: Wanted) -> Found:
    """A page of the newest runs by an index, and the exact number of all by the counts.

    Only for a filter that `is_counted`, newest first. O(offset + limit): 50 of 100 000 runs take less than a millisecond.
    """
    where, parameters = _of_index(wanted.filter)
    count = f"SELECT ifnull(sum(runs), 0) FROM run_count AS r WHERE r.listed = 1{where}"
    total = db.execute(count, parameters).fetchall()
    parameters |= {"root": str(root), "offset": wanted.offset}
    rows: list[Sequence[apsw.SQLiteValue]] = []
    for condition, more in _stretches(wanted.after):
        left = wanted.limit + 1 - len(rows)
        if left <= 0:
            break
        rows += db.execute(
            f"SELECT {COLUMNS}, r.run_id_fold, r.id FROM run AS r JOIN run_brief AS b ON b.run = r.id"
            f" WHERE r.listed{where}{condition} ORDER BY r.created DESC, r.run_id_fold DESC, r.run_id DESC, r.id DESC"
            " LIMIT :limit OFFSET :offset",
            {**parameters, **more, "limit": left},
        ).fetchall()
    page = [read_experiment(row) for row in rows[: wanted.limit]]
    last = None
    if len(rows) > wanted.limit:
        fold, number = rows[wanted.limit - 1][-2:]
        ties = (cast(str, fold), page[-1].run_id, cast(int, number))
        last = Cursor(wanted.order.by, True, [page[-1].created_at], ties)
    return Found(page, cast(int, total[0][0]), last, None)


def matching(db: apsw.Connection, root: Path, wanted: Wanted) -> Found:
    """A page of the runs that match, and the exact number of all. Looks at every narrow row; QueryTimeout after 10 s."""
    with limited(db):
        where, parameters = wanted.filter.where()
        facets = _facets(db, where, parameters) if wanted.facets else None
        keys, more = wanted.order.keys()
        statement = page_statement(where, keys, wanted)
        limits: Parameters = {"limit": wanted.limit + 1, "offset": wanted.offset}
        after: Parameters = {} if wanted.after is None else behind(wanted.after)[1]
        rows = db.execute(statement, {**parameters, **more, **limits, **after}).fetchall()
        counted = rows or db.execute(count_statement(where), parameters).fetchall()
        shown_rows = rows[: wanted.limit]
        last = None
        if len(rows) > wanted.limit:
            _, *values, fold, run_id, number = shown_rows[-1]
            last = Cursor(wanted.order.by, wanted.order.descending, values, (fold, run_id, number))  # type: ignore[arg-type]
        return Found(
            _experiments(db, root, [cast(int, row[-1]) for row in shown_rows]), cast(int, counted[0][0]), last, facets
        )


def page_statement(where: str, keys: Sequence[str], wanted: Wanted) -> str:
    """Rows (total, sort keys…, folded id, id, run) of one page; no row if it is empty."""
    # The condition is worked out once, and what is sorted is only what decides the order: sorting whole rows would move
    # all their columns.
    columns = "".join(f"{key} AS k{place}, " for place, key in enumerate(keys))
    ties = ", ".join(f"{tie} AS t{place}" for place, tie in enumerate(TIES))
    condition = "" if wanted.after is None else f" WHERE {behind(wanted.after)[0]}"
    order = sorted_by(len(keys), descending=wanted.order.descending)
    return (
        f"WITH matching AS MATERIALIZED (SELECT {columns}{ties} FROM run_brief AS b WHERE {where})"
        f" SELECT (SELECT count(*) FROM matching), * FROM matching{condition} ORDER BY {order}"
        " LIMIT :limit OFFSET :offset"
    )


def count_statement(where: str) -> str:
    """The number of the runs that match."""
    return f"SELECT count(*) FROM run_brief AS b WHERE {where}"


def experiment(db: apsw.Connection, root: Path, key: str) -> tuple[Experiment, MetricsSummary]:
    """A run with its metrics, also if it is in the recycle bin. RunNotFound if it is gone."""
    rows = db.execute(
        f"SELECT {COLUMNS}, b.steps, b.first_step, b.last_step, b.metric_keys"
        " FROM run AS r JOIN run_brief AS b ON b.run = r.id WHERE r.key = :key",
        {"root": str(root), "key": key},
    ).fetchall()
    if not rows:
        raise RunNotFound(key.rpartition("/")[2])
    steps, first, last, metric_keys = rows[0][-4:]
    names = db.execute(
        "SELECT k.name FROM json_each(?) AS j JOIN run_value_key AS k ON k.id = j.value ORDER BY k.name", (metric_keys,)
    ).fetchall()
    # A step beyond 64 bits is stored as its digits.
    step_range = None if first is None or last is None else StepRange(int(cast(int, first)), int(cast(int, last)))
    return read_experiment(rows[0]), MetricsSummary(cast(int, steps), [str(name) for (name,) in names], step_range)


def _of_index(wanted: Filter) -> tuple[str, Parameters]:
    where = ""
    parameters: Parameters = {}
    for column, value in (("project", wanted.project), ("status", next(iter(wanted.statuses), None))):
        if value is not None:
            where += f" AND r.{column} = :{column}"
            parameters[column] = value
    return where, parameters


def _stretches(after: Cursor | None) -> list[tuple[str, Parameters]]:
    """Conditions for what comes behind a cursor in the index: runs with a time, then those without one."""
    # Not one condition with OR, for which SQLite would walk through everything before the cursor.
    if after is None:
        return [("", {})]
    ties = "(r.run_id_fold, r.run_id, r.id)"
    fold, run_id, number = after.ties
    parameters: Parameters = {"fold": fold, "run_id": run_id, "id": number}
    if after.values[0] is None:
        return [(f" AND r.created IS NULL AND {ties} < (:fold, :run_id, :id)", parameters)]
    timed = " AND (r.created, r.run_id_fold, r.run_id, r.id) < (:created, :fold, :run_id, :id)"
    return [(timed, {**parameters, "created": after.values[0]}), (" AND r.created IS NULL", {})]


def _experiments(db: apsw.Connection, root: Path, runs: Sequence[int]) -> list[Experiment]:
    rows = db.execute(
        f"SELECT {COLUMNS} FROM json_each(:runs) AS page CROSS JOIN run AS r ON r.id = page.value"
        " CROSS JOIN run_brief AS b ON b.run = r.id ORDER BY page.key",
        {"root": str(root), "runs": dump_json(list(runs)).decode()},
    )
    return [read_experiment(row) for row in rows]


def facet_statements(where: str) -> dict[str, str]:
    """Rows (value, number of matching runs), the most frequent first."""
    ending = f"GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {_FACETS}"
    return {
        "statuses": f"SELECT b.status, count(*) FROM run_brief AS b WHERE {where} {ending}",
        "projects": f"SELECT ifnull(b.project, ''), count(*) FROM run_brief AS b WHERE {where} {ending}",
        "tags": (
            "SELECT t.tag, count(*) FROM run_tag AS t CROSS JOIN run AS r ON r.key = t.key"
            f" CROSS JOIN run_brief AS b ON b.run = r.id WHERE {where} {ending}"
        ),
    }


def _facets(db: apsw.Connection, where: str, parameters: Parameters) -> Facets:
    counts: dict[str, dict[str, int]] = {}
    for facet, statement in facet_statements(where).items():
        rows = db.execute(statement, parameters)
        counts[facet] = {str(value): cast(int, count) for value, count in rows}
    return Facets(**counts)
