"""Curves of several runs, to be laid over each other."""

from __future__ import annotations

import apsw
import msgspec

from runicorn_query.plots.drawing import draw_alone
from runicorn_query.plots.request import Axis, PlotRequest


class Curve(msgspec.Struct, frozen=True):
    """One metric of one run: finite values only, ascending by x."""

    x: list[float]
    y: list[float]


class ComparedRun(msgspec.Struct, frozen=True):
    """The curves of one run, by metric; a metric that it lacks is not there."""

    run_id: str = msgspec.field(name="id")
    project: str | None
    name: str | None
    status: str
    metrics: dict[str, Curve]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `POST /api/v2/metrics/compare`: runs in the order of the request."""

    x: Axis
    runs: list[ComparedRun]
    missing: list[str]
    """Ids that no run has."""
    smoothing: float
    query_time_ms: float


def compared_runs(db: apsw.Connection, run_id: str, key: str, request: PlotRequest) -> list[ComparedRun]:
    """The curves of a run; empty if it is gone."""
    rows = db.execute("SELECT project, name, status FROM run WHERE key = ?", (key,)).fetchall()
    lines = draw_alone(db, key, request) if rows else {}
    curves = {name: Curve(x, y) for name, (x, y) in lines.items()}
    return [ComparedRun(run_id, project, name, str(status), curves) for project, name, status in rows]  # type: ignore[arg-type]  # the columns of the table
