"""Which runs a client wants to see: query parameters → SQL conditions about rows of `run_brief b`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from runicorn.plugin import dump_json
from runicorn_query.language import Condition, Expression, compile_condition
from runicorn_query.language.sql import DESCRIBED

if TYPE_CHECKING:
    import apsw

Parameters = dict[str, "apsw.SQLiteValue"]

_TAGGED = "b.run IN (SELECT r.id FROM run_tag AS t CROSS JOIN run AS r ON r.key = t.key WHERE t.tag = :{name})"
_FOUND = (
    "(instr(ifnull(b.project_fold, b.project), :search) OR instr(ifnull(b.name_fold, b.name), :search)"
    " OR instr(ifnull(b.run_id_fold, b.run_id), :search)"
    f" OR b.run IN ({DESCRIBED.format(needle=':search')}))"
)


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions that all have to hold; None and empty mean: no condition."""

    project: str | None = None
    name: str | None = None
    statuses: tuple[str, ...] = ()
    """Any of them."""
    tags: tuple[str, ...] = ()
    """All of them."""
    search: str = ""
    """A part of project, name, id or description, in any case."""
    created_after: float | None = None
    created_before: float | None = None
    best_metric_min: float | None = None
    best_metric_max: float | None = None
    include_deleted: bool = False
    expression: Expression | None = None
    """Of the filter language."""

    @property
    def is_counted(self) -> bool:
        """Whether `run_count` has the number of matching runs, and an index the newest of them."""
        return len(self.statuses) <= 1 and self == Filter(project=self.project, statuses=self.statuses)

    def condition(self) -> Condition:
        """The matching runs; the SQL may call `casefold`."""
        where, parameters = self._where()
        if self.expression is None:
            return Condition(where, None, parameters)
        condition = compile_condition(self.expression, where)
        return Condition(condition.row, condition.runs, {**parameters, **condition.parameters})

    def _where(self) -> tuple[str, Parameters]:
        parts = ["1" if self.include_deleted else "b.listed"]
        parameters: Parameters = {}
        for place, tag in enumerate(dict.fromkeys(self.tags)):
            parts.append(_TAGGED.format(name=f"tag{place}"))
            parameters[f"tag{place}"] = tag
        if self.statuses:
            parts.append("b.status IN (SELECT value FROM json_each(:statuses))")
            parameters["statuses"] = dump_json(list(self.statuses)).decode()
        if self.search:
            parts.append(_FOUND)
            parameters["search"] = self.search.casefold()
        for name, sql in _COMPARISONS.items():
            value: apsw.SQLiteValue = getattr(self, name)
            if value is not None:
                parts.append(f"{sql} :{name}")
                parameters[name] = value
        return " AND ".join(parts), parameters


_COMPARISONS = {
    "project": "b.project =",
    "name": "b.name =",
    "created_after": "b.created >=",
    "created_before": "b.created <=",
    "best_metric_min": "b.best_value >=",
    "best_metric_max": "b.best_value <=",
}


def split_list(text: str | None) -> tuple[str, ...]:
    """The parts of a comma list, trimmed; empty ones are dropped."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())
