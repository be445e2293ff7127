"""Expression → SQL: a condition on rows of `run_brief b`, true or false for each, never null.

Tests of what `run_brief` holds look at its columns. All others are sets of runs: `b.run IN (SELECT run …)`, each of which
SQLite makes once, by a scan of one key's range. Every value is a parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast

import apsw
import msgspec

from runicorn_query.language.fields import AttributeField, ColumnField, Field, MetricField, TagField
from runicorn_query.language.syntax import All, Any, Comparison, Expression, Not, Span, Value

DURATION = "CASE WHEN b.status <> 'running' THEN b.ended - b.started END"

COLUMNS = {
    "id": "b.run_id",
    "project": "b.project",
    "name": "b.name",
    "status": "b.status",
    "best_metric_name": "b.best_name",
    "best_metric": "b.best_value",
    "best_step": "b.best_step",
    "metric_count": "b.metric_count",
    "duration": DURATION,
    "created": "b.created",
    "updated": "b.updated",
    "started": "b.started",
    "ended": "b.ended",
    "deleted": "b.deleted_at",
}
FOLDED = {
    "id": "ifnull(b.run_id_fold, b.run_id)",
    "project": "ifnull(b.project_fold, b.project)",
    "name": "ifnull(b.name_fold, b.name)",
}
_KEY = "(SELECT id FROM run_value_key WHERE source = {source} AND name = {name})"
STATISTICS = {
    "last": "CASE WHEN diverged IS NULL THEN last END",
    "min": "low",
    "max": "high",
    "count": "cells",
}
_SOURCES = {"summary": "s", "config": "c"}


class Condition(msgspec.Struct, frozen=True):
    """`sql` holds for the runs that an expression means; it speaks of `run_brief` as `b`, and calls `casefold`."""

    sql: str
    parameters: dict[str, apsw.SQLiteValue]


def compile_condition(expression: Expression) -> Condition:
    """The condition that an expression means. Parameters are named `q0`, `q1`, …"""
    compiler = _Compiler()
    return Condition(compiler.condition(expression), compiler.parameters)


def sort_term(field: MetricField | AttributeField, prefix: str) -> tuple[str, dict[str, apsw.SQLiteValue]]:
    """The number that a run of `run_brief b` has in this field, null if it has none: an expression, and its parameters."""
    if isinstance(field, MetricField):
        key, table, value = field.metric, "run_metric", STATISTICS[field.statistic]
    else:
        key, table, value = field.key, "run_value", "num"
    source = "m" if isinstance(field, MetricField) else _SOURCES[field.source]
    names = {"source": f":{prefix}_source", "name": f":{prefix}_name"}
    return (
        f"(SELECT {value} FROM {table} AS v WHERE v.key = {_KEY.format(**names)} AND v.run = b.run)",
        {f"{prefix}_source": source, f"{prefix}_name": key},
    )


class _Compiler:
    def __init__(self) -> None:
        self.parameters: dict[str, apsw.SQLiteValue] = {}

    def condition(self, expression: Expression) -> str:
        match expression:
            case All(parts):
                return f"({' AND '.join(map(self.condition, parts))})"
            case Any(parts):
                return f"({' OR '.join(map(self.condition, parts))})"
            case Not(inner):
                return f"(NOT {self.condition(inner)})"
            case Comparison():
                return self._test(expression)

    def _test(self, test: Comparison) -> str:
        field = test.field
        match field:
            case ColumnField("description"):
                place = "SELECT r.rowid FROM run AS r WHERE r.description IS NOT NULL"
                return self._in(f"{place} AND {self._compare('r.description', test, _folded('r.description'))}")
            case ColumnField(name, _):
                column = COLUMNS[name]
                return f"(({self._compare(column, test, FOLDED.get(name) or _folded(column))}) IS TRUE)"
            case TagField():
                place = "SELECT r.rowid FROM run_tag AS t CROSS JOIN run AS r ON r.key = t.key WHERE"
                return self._in(f"{place} {self._compare('t.tag', test, _folded('t.tag'))}")
            case MetricField(metric, statistic):
                value = STATISTICS[statistic]
                place = f"SELECT run FROM run_metric WHERE key = {self._key('m', metric)}"
                return self._in(f"{place} AND {self._compare(f'({value})', test)}")
            case AttributeField(source, key):
                place = f"SELECT run FROM run_value WHERE key = {self._key(_SOURCES[source], key)}"
                return self._in(f"{place} AND {self._compare_either(test)}")

    def _in(self, select: str) -> str:
        return f"(b.run IN ({select}))"

    def _key(self, source: str, name: str) -> str:
        return _KEY.format(source=self._parameter(source), name=self._parameter(name))

    def _compare_either(self, test: Comparison) -> str:
        """Of a value that is a number or text; the query's value says which is meant. What is neither is absent."""
        if test.operator == "exists":
            return "1"
        if test.operator == "~":
            return self._compare("txt", test, _folded("txt"))

        def equal(value: Value) -> str:
            return f"{'txt' if isinstance(value, str) else 'num'} = {self._parameter(value)}"

        if test.operator in ("=", "in"):
            return _any(map(equal, test.values))
        if test.operator == "!=":
            return f"({equal(test.values[0])}) IS NOT TRUE"
        return self._compare("num", test)

    def _compare(self, sql: str, test: Comparison, folded: str = "") -> str:
        if test.operator == "exists":
            return f"{sql} IS NOT NULL"
        if test.operator == "in":
            return _any(self._equal(sql, value) for value in test.values)
        value = test.values[0]
        if test.operator == "~":
            return f"instr({folded}, {self._parameter(cast(str, value).casefold())}) > 0"
        if test.operator == "=":
            return self._equal(sql, value)
        if test.operator == "!=":
            return f"NOT ({self._equal(sql, value)})"
        if isinstance(value, Span):
            operator, bound = _OF_SPANS[test.operator](value)
            return f"{sql} {operator} {self._parameter(bound)}"
        return f"{sql} {test.operator} {self._parameter(value)}"

    def _equal(self, sql: str, value: Value) -> str:
        if isinstance(value, Span):
            start, end = self._parameter(value.start), self._parameter(value.end)
            return f"({sql} >= {start} AND {sql} < {end})"
        return f"{sql} = {self._parameter(value)}"

    def _parameter(self, value: apsw.SQLiteValue | Span) -> str:
        name = f"q{len(self.parameters)}"
        self.parameters[name] = cast("apsw.SQLiteValue", value)
        return f":{name}"


_OF_SPANS: dict[str, Callable[[Span], tuple[str, float]]] = {
    "<": lambda span: ("<", span.start),
    "<=": lambda span: ("<", span.end),
    ">": lambda span: (">=", span.end),
    ">=": lambda span: (">=", span.start),
}


def _folded(sql: str) -> str:
    return f"casefold({sql})"


def _any(conditions: Iterable[str]) -> str:
    return f"({' OR '.join(conditions)})"


def fields_of(expression: Expression) -> set[Field]:
    """All fields that an expression speaks of."""
    match expression:
        case All(parts) | Any(parts):
            return set().union(*map(fields_of, parts))
        case Not(inner):
            return fields_of(inner)
        case Comparison(field):
            return {field}
