"""Which runs a client wants to see, and in which order: query parameters → SQL conditions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from runicorn.plugin import BadInput, dump_json, shown
from runicorn_query.experiments import DURATION, LAST_CHANGE

if TYPE_CHECKING:
    import apsw

Parameters = dict[str, "apsw.SQLiteValue"]


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions that all have to hold; None and empty mean: no condition."""

    project: str | None = None
    name: str | None = None
    statuses: tuple[str, ...] = ()
    """Any of them."""
    tags: tuple[str, ...] = ()
    """All of them."""
    search: str = ""
    """A part of project, name or id, in any case."""
    created_after: float | None = None
    created_before: float | None = None
    best_metric_min: float | None = None
    best_metric_max: float | None = None
    include_deleted: bool = False

    @property
    def is_indexed(self) -> bool:
        """Whether an index has exactly the matching runs, and the counts have their number."""
        return len(self.statuses) <= 1 and self == Filter(project=self.project, statuses=self.statuses)

    def where(self) -> tuple[str, Parameters]:
        """A condition on the table `run`, with its parameters."""
        parts = ["1" if self.include_deleted else "listed"]
        parameters: Parameters = {}
        if self.tags:
            parts.append("0")  # no read model holds tags, so no run has any
        if self.statuses:
            parts.append("status IN (SELECT value FROM json_each(:statuses))")
            parameters["statuses"] = dump_json(list(self.statuses)).decode()
        if self.search:
            parts.append("(instr(project_fold, :search) OR instr(name_fold, :search) OR instr(run_id_fold, :search))")
            parameters["search"] = self.search.casefold()
        for name, sql in _COMPARISONS.items():
            value: apsw.SQLiteValue = getattr(self, name)
            if value is not None:
                parts.append(f"{sql} :{name}")
                parameters[name] = value
        return " AND ".join(parts), parameters


_COMPARISONS = {
    "project": "project =",
    "name": "name =",
    "created_after": "created >=",
    "created_before": "created <=",
    "best_metric_min": "best_value >=",
    "best_metric_max": "best_value <=",
}


def split_list(text: str | None) -> tuple[str, ...]:
    """The parts of a comma list, trimmed; empty ones are dropped."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


DEFAULT_ORDER = "created_at"

_ORDERS: dict[str, Sequence[str]] = {
    "created_at": ["created"],
    "created_time": ["created"],
    "updated_at": [LAST_CHANGE],
    "started_at": ["started"],
    "ended_at": ["ended"],
    "duration_seconds": [DURATION],
    "best_metric_value": ["best_value"],
    "best_metric_step": ["best_step"],
    "status": ["casefold(status)", "status"],
    "project": ["nullif(project_fold, '')", "project"],
    "name": ["nullif(name_fold, '')", "name"],
    "id": [],
}


class Order(msgspec.Struct, frozen=True):
    """A total order of all runs: nulls last in both directions, runs with equal values by id in the same direction."""

    by: str = DEFAULT_ORDER
    descending: bool = True

    def __post_init__(self) -> None:
        if self.by not in _ORDERS:
            raise BadInput(f"Invalid order_by: {shown(self.by)}")

    @property
    def is_indexed(self) -> bool:
        """Whether the newest runs come first."""
        return self.descending and _ORDERS[self.by] == _ORDERS[DEFAULT_ORDER]

    @property
    def terms(self) -> str:
        """For `ORDER BY`."""
        direction = "DESC" if self.descending else "ASC"
        terms = [f"{term} {direction} NULLS LAST" for term in _ORDERS[self.by]]
        return ", ".join([*terms, f"run_id_fold {direction}", f"run_id {direction}", "key"])
