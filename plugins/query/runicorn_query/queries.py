"""Tables → structs: the SQL behind the routes.

The tables are those of the `runs` plugin's read model: `run`, `run_count` and `activity` (see its `run_list`).
"""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, cast

import apsw

from runicorn.plugin import NotFound, RunicornError, RunNotFound, dump_json, shown
from runicorn_query.experiments import COLUMNS, Experiment, read_experiment
from runicorn_query.filters import Filter, Order, Parameters

_LIMIT_S = 10.0
_DENSE = 4  # reading a row by an index costs about four times as much as in the order of the table
_STEPS_BETWEEN_LOOKS = 20_000  # of SQLite's virtual machine: about a millisecond


class QueryTimeout(RunicornError):
    """A query took more than 10 s and was given up."""

    def __init__(self) -> None:
        super().__init__("Database query failed: timeout")


class ExperimentNotFound(NotFound):
    """No run has this id, not even in the recycle bin."""

    def __init__(self, exp_id: str) -> None:
        super().__init__(f"Experiment {shown(exp_id)} not found")


class Found(NamedTuple):
    """One page, and the number of runs on all pages."""

    experiments: list[Experiment]
    total: int


def newest(db: apsw.Connection, root: Path, wanted: Filter, limit: int, offset: int) -> Found:
    """A page of the newest runs by an index, and the exact number of all by the counts.

    Only for a filter that `is_indexed`. O(offset + limit): 50 of 100 000 runs take less than a millisecond.
    """
    parameters: Parameters = {"root": str(root), "limit": limit, "offset": offset}
    where = ""
    for column, value in (("project", wanted.project), ("status", next(iter(wanted.statuses), None))):
        if value is not None:
            where += f" AND {column} = :{column}"
            parameters[column] = value
    total = db.execute(f"SELECT ifnull(sum(runs), 0) FROM run_count WHERE listed = 1{where}", parameters).fetchall()
    rows = db.execute(
        f"SELECT {COLUMNS} FROM run WHERE listed{where}"
        " ORDER BY created DESC, run_id_fold DESC, run_id DESC, key LIMIT :limit OFFSET :offset",
        parameters,
    )
    return Found([read_experiment(row) for row in rows], cast(int, total[0][0]))


def matching(db: apsw.Connection, root: Path, wanted: Filter, order: Order, limit: int, offset: int) -> Found:
    """A page of the runs that match, and the exact number of all. Looks at every run; QueryTimeout after 10 s."""
    where, parameters = wanted.where()
    parameters |= {"limit": limit, "offset": offset}
    db.create_scalar_function("casefold", _casefold, 1, deterministic=True)
    with _limited(db):
        total = db.execute(f"SELECT count(*) FROM run WHERE {where}", parameters).fetchall()
        matches = cast(int, total[0][0])
        if offset >= matches:
            return Found([], matches)
        # Walking along the order is quick where matches are dense; else look at all, and sort what matches.
        terms = order.terms if _DENSE * (offset + limit) < matches else f"+{order.terms}"
        # Sorted as row ids, then joined: sorting rows would move all their columns.
        ids = db.execute(
            f"SELECT rowid FROM run WHERE {where} ORDER BY {terms} LIMIT :limit OFFSET :offset", parameters
        ).fetchall()
        rows = db.execute(
            f"SELECT {COLUMNS} FROM json_each(:ids) AS page CROSS JOIN run ON run.rowid = page.value ORDER BY page.key",
            {"root": str(root), "ids": dump_json([row_id for (row_id,) in ids]).decode()},
        )
        return Found([read_experiment(row) for row in rows], matches)


def experiment(db: apsw.Connection, root: Path, key: str) -> Experiment:
    """A run, also if it is in the recycle bin. RunNotFound if it is gone."""
    rows = db.execute(f"SELECT {COLUMNS} FROM run WHERE key = :key", {"root": str(root), "key": key}).fetchall()
    if not rows:
        raise RunNotFound(key.rpartition("/")[2])
    return read_experiment(rows[0])


@contextmanager
def _limited(db: apsw.Connection) -> Generator[None]:
    deadline = time.monotonic() + _LIMIT_S
    db.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_BETWEEN_LOOKS)
    try:
        yield
    except apsw.InterruptError:
        raise QueryTimeout from None
    finally:
        db.set_progress_handler(None)


def _casefold(*values: apsw.SQLiteValue) -> str:
    return cast(str, values[0]).casefold()
