"""What a query means: a tree of tests. Values have the type of their field already."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from runicorn_query.language.fields import Field

Operator: TypeAlias = Literal["=", "!=", "<", "<=", ">", ">=", "~", "in", "exists"]


class Span(msgspec.Struct, frozen=True):
    """A day, or another stretch of time: from `start` up to, but without `end`. Unix seconds."""

    start: float
    end: float


Value: TypeAlias = str | float | Span


class Comparison(msgspec.Struct, frozen=True):
    """One comparison. False for a run that has no value."""

    field: Field
    operator: Operator
    values: tuple[Value, ...] = ()
    """One; any number for `in`, none for `exists`. For `~` the text as it was written."""


class Not(msgspec.Struct, frozen=True):
    """All other runs."""

    inner: Expression


class All(msgspec.Struct, frozen=True):
    """The runs of every part."""

    parts: tuple[Expression, ...]


class Any(msgspec.Struct, frozen=True):
    """The runs of at least one part."""

    parts: tuple[Expression, ...]


Expression: TypeAlias = Comparison | Not | All | Any
