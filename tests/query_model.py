"""What a query of the filter language means, run by run, in plain Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runicorn_query.language import (
    All,
    AttributeField,
    ColumnField,
    Comparison,
    Expression,
    Field,
    MetricField,
    Not,
    NoteField,
    Span,
    TagField,
)
from runicorn_query.language import Any as AnyOf

Run = Mapping[str, Any]
"""By field name; `tag` a list, `metric.NAME` a dict of statistics, `summary` and `config` flat dicts."""


def holds(expression: Expression, run: Run) -> bool:
    match expression:
        case All(parts):
            return all(holds(part, run) for part in parts)
        case AnyOf(parts):
            return any(holds(part, run) for part in parts)
        case Not(inner):
            return not holds(inner, run)
        case Comparison(field, operator, values):
            return any(_compare(value, operator, values) for value in _values(field, run))


def _values(field: Field, run: Run) -> list[Any]:
    match field:
        case TagField():
            return run["tag"]
        case NoteField():
            said = [run[source].get(key) for source in ("summary", "config") for key in ("note", "notes")]
            return [text for text in said if isinstance(text, str)]
        case MetricField(metric, statistic):
            found = run["metrics"].get(metric, {}).get(statistic)
        case AttributeField(source, key):
            found = run[source].get(key)
            found = float(found) if isinstance(found, bool) else found
        case ColumnField(name):
            found = run[name]
    return [] if found is None else [found]


def _compare(value: Any, operator: str, others: tuple[Any, ...]) -> bool:
    if operator == "exists":
        return True
    if operator == "~":
        return isinstance(value, str) and others[0].casefold() in value.casefold()
    if operator in ("=", "in"):
        return any(_equal(value, other) for other in others)
    other = others[0]
    if operator == "!=":
        return not _equal(value, other)
    if isinstance(value, str):
        return False
    low, high = (other.start, other.end) if isinstance(other, Span) else (other, other)
    return {
        "<": value < low,
        "<=": value < high if isinstance(other, Span) else value <= high,
        ">": value >= high if isinstance(other, Span) else value > high,
        ">=": value >= low,
    }[operator]


def _equal(value: Any, other: Any) -> bool:
    if isinstance(other, Span):
        return other.start <= value < other.end
    return isinstance(value, str) == isinstance(other, str) and value == other
