"""The filter language: `status = finished and metric.loss.min < 0.3 and not tag = broken`.

    text ── parse ──▶ Expression ── compile_condition ──▶ Condition (SQL with parameters, about the table `run_brief`)

    expression := and ("or" and)*                 fields        id, project, status, created, …   (`fields`)
    and        := not ("and" not)*                              summary.KEY, config.KEY, metric.NAME.last
    not        := "not" not | "(" expression ")" | test         a KEY with other signs than letters, digits, / _ - : + % @
    test       := field operator value                          and dots stands in quotes: metric."val loss".min
                | field ["not"] "in" "(" value ("," value)* ")"
                | field "exists"                  operators     = != < <= > >= and ~ for "contains, in any case"

A run without a value fails every test of it; `not` is the complement, so it takes such runs in. `docs/queries.md` is the
guide for users.
"""

from runicorn_query.language.errors import InvalidQuery
from runicorn_query.language.fields import (
    AttributeField,
    ColumnField,
    Field,
    MetricField,
    NoteField,
    TagField,
    field_named,
)
from runicorn_query.language.parser import MAX_DEPTH, MAX_LENGTH, MAX_TESTS, parse, parse_field
from runicorn_query.language.sql import Condition, compile_condition, sort_term
from runicorn_query.language.syntax import All, Any, Comparison, Expression, Not, Span, Value

__all__ = [
    "MAX_DEPTH",
    "MAX_LENGTH",
    "MAX_TESTS",
    "All",
    "Any",
    "AttributeField",
    "ColumnField",
    "Comparison",
    "Condition",
    "Expression",
    "Field",
    "InvalidQuery",
    "MetricField",
    "Not",
    "NoteField",
    "Span",
    "TagField",
    "Value",
    "compile_condition",
    "field_named",
    "parse",
    "parse_field",
    "sort_term",
]
