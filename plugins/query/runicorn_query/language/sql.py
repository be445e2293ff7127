"""Expression → SQL about rows of `run_brief b`, in two forms. Every value is a parameter.

As a condition it is true or false for a row, never null: for looking at runs one by one until a page is full. As sets it is
a compound SELECT of runs: each test of a value is a scan of one key's range, in the order of the runs, so that INTERSECT,
UNION and EXCEPT merge what comes in order. An expression about columns of `run_brief` alone needs no sets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, cast

import apsw
import msgspec

from runicorn_query.language.fields import AttributeField, ColumnField, MetricField, NoteField, TagField
from runicorn_query.language.syntax import All, Any, Comparison, Expression, Not, Span, Value
from runicorn_query.limits import folded

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
    "status": "ifnull(b.status_fold, lower(b.status))",
    "best_metric_name": "ifnull(b.best_name_fold, lower(b.best_name))",
}
TAGGED = (
    "SELECT r.id AS run FROM run_tag AS t CROSS JOIN run AS r ON r.key = t.key WHERE t.tag IN"
    f" (SELECT tag FROM (SELECT DISTINCT said.tag FROM run_tag AS said) WHERE instr({folded('tag')}, {{needle}}))"
)
"""The runs with a tag that contains what is case-folded: each tag is folded once, however many runs have it."""
DESCRIBED = (
    "SELECT run FROM (SELECT id AS run FROM run INDEXED BY run_described WHERE description IS NOT NULL"
    " AND octet_length(description) = length(description) AND instr(lower(description), {needle})"
    " UNION ALL SELECT d.run FROM run_folded_description AS d WHERE instr(d.fold, {needle}))"
)
"""The runs with a description that contains what is case-folded."""
_FOLDED_VALUE = "ifnull(fold, lower(txt))"
NOTES = (
    "run_value AS v WHERE v.key IN"
    " (SELECT id FROM run_value_key WHERE source IN ('s', 'c') AND name IN ('note', 'notes')) AND v.txt IS NOT NULL"
)
"""Texts that summaries and configurations hold under these names: what there is to select from."""
NOTED = f"SELECT v.run FROM {NOTES} AND instr({_FOLDED_VALUE}, {{needle}})"
"""The runs with a note that contains what is case-folded."""
_KEY = "(SELECT id FROM run_value_key WHERE source = {source} AND name = {name})"
STATISTICS = {
    "last": "CASE WHEN diverged IS NULL THEN last END",
    "min": "low",
    "max": "high",
    "count": "cells",
}
_SOURCES = {"summary": "s", "config": "c"}


class Condition(msgspec.Struct, frozen=True):
    """The runs that an expression means; the SQL speaks of `run_brief` as `b`, and calls `casefold`."""

    row: str
    """Whether `b` is one of them."""
    runs: str | None
    """All of them, as a SELECT; None where `row` looks at nothing but `b`."""
    parameters: dict[str, apsw.SQLiteValue]


def compile_condition(expression: Expression, where: str = "1") -> Condition:
    """The condition that an expression and `where`, a condition about columns of `b`, mean together.

    Parameters are named `q0`, `q1`, …
    """
    compiler = _Compiler()
    parts = expression.parts if isinstance(expression, All) else (expression,)
    compiled = _all([_Compiled(where), *map(compiler.compile, parts)])
    return Condition(compiled.row, compiled.runs, compiler.parameters)


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


class _Compiled(NamedTuple):
    row: str
    runs: str | None = None
    is_compound: bool = False
    range: tuple[str, str, str] | None = None
    """Of a test of a value: the table, and source and name of the key. `comparison` is about a row of it then."""
    comparison: str = ""
    negated: _Compiled | None = None
    """The inside of a `not`, if it has sets."""


def _all(parts: Sequence[_Compiled]) -> _Compiled:
    row = f"({' AND '.join(part.row for part in parts)})"
    parts = _in_one_range(parts, "AND")
    sets = [part for part in parts if part.runs is not None and part.negated is None]
    negated = [part.negated for part in parts if part.negated is not None]
    columns = [part.row for part in parts if part.runs is None]
    if not sets and not negated:
        return _Compiled(row)
    if len(parts) == 1 and sets:
        return sets[0]._replace(row=row)
    found = [f"{_EVERY} WHERE {' AND '.join(columns)}"] if columns else [] if sets else [_EVERY]
    runs = " INTERSECT ".join([*found, *map(_operand, sets)])
    if negated:  # the runs of none of them
        runs += f" EXCEPT {_operand(_any_of(negated))}"
    return _Compiled(row, runs, True)


def _any_of(parts: Sequence[_Compiled]) -> _Compiled:
    row = f"({' OR '.join(part.row for part in parts)})"
    parts = _in_one_range(parts, "OR")
    sets = [part for part in parts if part.runs is not None and part.negated is None]
    negated = [part.negated for part in parts if part.negated is not None]
    columns = [part.row for part in parts if part.runs is None]
    if not sets and not negated:
        return _Compiled(row)
    if len(parts) == 1 and sets:
        return sets[0]._replace(row=row)
    found = [f"{_EVERY} WHERE {' OR '.join(columns)}"] if columns else []
    if negated:  # all but the runs of every one of them
        found.append(f"SELECT run FROM ({_EVERY} EXCEPT {_operand(_all(negated))})")
    return _Compiled(row, " UNION ".join([*found, *map(_operand, sets)]), True)


def _not(part: _Compiled) -> _Compiled:
    row = f"(NOT {part.row})"
    if part.runs is None:
        return _Compiled(row)
    if part.negated is not None:
        return part.negated._replace(row=row)
    return _Compiled(row, f"{_EVERY} EXCEPT {_operand(part)}", True, negated=part)


def _in_one_range(parts: Sequence[_Compiled], operator: str) -> list[_Compiled]:
    """Tests of one key become one: the key has one row per run, so its range needs to be read only once."""
    found: dict[object, _Compiled] = {}
    for place, part in enumerate(parts):
        if part.range is None:
            found[place] = part
        elif part.range in found:
            earlier = found[part.range]
            comparison = f"({earlier.comparison} {operator} {part.comparison})"
            runs = cast(str, earlier.runs).removesuffix(earlier.comparison) + comparison
            found[part.range] = earlier._replace(runs=runs, comparison=comparison)
        else:
            found[part.range] = part
    return list(found.values())


def _operand(part: _Compiled) -> str:
    return f"SELECT run FROM ({part.runs})" if part.is_compound else cast(str, part.runs)


_EVERY = "SELECT b.run FROM run_brief AS b"


class _Compiler:
    def __init__(self) -> None:
        self.parameters: dict[str, apsw.SQLiteValue] = {}

    def compile(self, expression: Expression) -> _Compiled:
        match expression:
            case All(parts):
                return _all([self.compile(part) for part in parts])
            case Any(parts):
                return _any_of([self.compile(part) for part in parts])
            case Not(inner):
                return _not(self.compile(inner))
            case Comparison():
                return self._comparison(expression)

    def _comparison(self, test: Comparison) -> _Compiled:
        field = test.field
        match field:
            case ColumnField("description") if test.operator == "~":
                return _in(DESCRIBED.format(needle=self._needle(test)))
            case ColumnField("description"):
                described = "SELECT r.id AS run FROM run AS r INDEXED BY run_described WHERE r.description IS NOT NULL"
                return _in(f"{described} AND {self._compare('r.description', test)}")
            case ColumnField(name, _):
                column = COLUMNS[name]
                return _Compiled(f"(({self._compare(column, test, FOLDED.get(name, ''))}) IS TRUE)")
            case TagField() if test.operator == "~":
                return _in(TAGGED.format(needle=self._needle(test)))
            case TagField():
                tagged = "SELECT r.id AS run FROM run_tag AS t CROSS JOIN run AS r ON r.key = t.key WHERE"
                return _in(f"{tagged} {self._compare('t.tag', test)}")
            case NoteField():
                return _in(f"SELECT v.run FROM {NOTES} AND {self._compare('v.txt', test, _FOLDED_VALUE)}")
            case MetricField(metric, statistic):
                value = f"({STATISTICS[statistic]})"
                return self._ranged("run_metric", "m", metric, self._compare(value, test))
            case AttributeField(source, key):
                return self._ranged("run_value", _SOURCES[source], key, self._compare_either(test))

    def _ranged(self, table: str, source: str, name: str, comparison: str) -> _Compiled:
        comparison = f"({comparison})"
        found = f"FROM {table} AS v WHERE v.key = {self._key(source, name)}"
        row = f"EXISTS (SELECT 1 {found} AND v.run = b.run AND {comparison})"
        return _Compiled(row, f"SELECT v.run {found} AND {comparison}", False, (table, source, name), comparison)

    def _key(self, source: str, name: str) -> str:
        return _KEY.format(source=self._parameter(source), name=self._parameter(name))

    def _compare_either(self, test: Comparison) -> str:
        """Of a value that is a number or text; the query's value says which is meant. What is neither is absent."""
        if test.operator == "exists":
            return "1"
        if test.operator == "~":
            return self._compare("txt", test, _FOLDED_VALUE)

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
            return f"instr({folded}, {self._needle(test)}) > 0"
        if test.operator == "=":
            return self._equal(sql, value)
        if test.operator == "!=":
            return f"NOT ({self._equal(sql, value)})"
        if isinstance(value, Span):
            operator, bound = _OF_SPANS[test.operator](value)
            return f"{sql} {operator} {self._parameter(bound)}"
        return f"{sql} {test.operator} {self._parameter(value)}"

    def _needle(self, test: Comparison) -> str:
        return self._parameter(cast(str, test.values[0]).casefold())

    def _equal(self, sql: str, value: Value) -> str:
        if isinstance(value, Span):
            start, end = self._parameter(value.start), self._parameter(value.end)
            return f"({sql} >= {start} AND {sql} < {end})"
        return f"{sql} = {self._parameter(value)}"

    def _parameter(self, value: apsw.SQLiteValue | Span) -> str:
        name = f"q{len(self.parameters)}"
        self.parameters[name] = cast("apsw.SQLiteValue", value)
        return f":{name}"


def _in(select: str) -> _Compiled:
    return _Compiled(f"(b.run IN ({select}))", select)


_OF_SPANS: dict[str, Callable[[Span], tuple[str, float]]] = {
    "<": lambda span: ("<", span.start),
    "<=": lambda span: ("<", span.end),
    ">": lambda span: (">=", span.end),
    ">=": lambda span: (">=", span.start),
}


def _any(conditions: Iterable[str]) -> str:
    return f"({' OR '.join(conditions)})"
