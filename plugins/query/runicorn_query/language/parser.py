"""Tokens → expression: recursive descent, one method per rule of the grammar."""

from __future__ import annotations

import time as clock
from collections.abc import Callable
from typing import Any as AnyValue
from typing import cast

from runicorn_query.language import values
from runicorn_query.language.errors import InvalidQuery, quoted
from runicorn_query.language.fields import (
    AttributeField,
    ColumnField,
    Field,
    NoteField,
    TagField,
    UnknownField,
    field_named,
)
from runicorn_query.language.lexer import Token, tokens
from runicorn_query.language.syntax import All, Any, Comparison, Expression, Not, Operator, Value

MAX_LENGTH = 4096
"""Characters of a query."""
MAX_DEPTH = 64
"""Parentheses and `not`s around a test."""
MAX_TESTS = 32
"""Tests in a query; the values of an `in` beyond the first 16 count, too."""

_FREE_VALUES = 16  # a list is one pass over the values of its field, however long it is
_KEYWORDS = ("and", "or", "not", "in", "exists")
_OTHER_SPELLINGS = {"&&": "and", "&": "and", "||": "or", "|": "or"}
_TEXT_OPERATORS = ("=", "!=", "~", "in")
_TAG_OPERATORS = ("=", "~", "in")
_ORDER_OPERATORS = ("<", "<=", ">", ">=")


def parse(query: str, now: float | None = None) -> Expression:
    """The expression that a query means; `7d` is counted back from `now` (Unix seconds, default: the clock).

    InvalidQuery says what is wrong at which column. O(length), whatever the text.
    """
    if len(query) > MAX_LENGTH:
        raise InvalidQuery(f"longer than {MAX_LENGTH} characters", query, MAX_LENGTH + 1)
    return _Parser(query, clock.time() if now is None else now).whole()


def parse_field(text: str) -> Field:
    """The field that `text` names and nothing else, such as `metric."val loss".min`. InvalidQuery if it names none."""
    found = tokens(text)
    if found[0].kind != "word" or len(found) != 2 or found[0].text != text:
        raise InvalidQuery("expected the name of a field", text, 1)
    try:
        return field_named(found[0].segments)
    except UnknownField as error:
        raise InvalidQuery(f"{quoted(text)}: {error}", text, 1) from None


class _Parser:
    def __init__(self, query: str, now: float) -> None:
        self._query = query
        self._now = now
        self._tokens = tokens(query)
        self._at = 0
        self._depth = 0
        self._tests = 0

    def whole(self) -> Expression:
        if self._next().kind == "end":
            raise self._wrong("the query is empty", self._next())
        expression = self._either()
        token = self._next()
        if token.kind == ")":
            raise self._wrong("no parenthesis is open here", token)
        if token.kind != "end":
            raise self._wrong(f"expected `and`, `or` or the end{_hint(token)}", token)
        return expression

    def _either(self) -> Expression:
        return self._sequence("or", self._both, lambda parts: Any(parts))

    def _both(self) -> Expression:
        return self._sequence("and", self._negated, lambda parts: All(parts))

    def _sequence(
        self,
        keyword: str,
        rule: Callable[[], Expression],
        join: Callable[[tuple[Expression, ...]], Expression],
    ) -> Expression:
        parts = [rule()]
        while self._next().is_keyword(keyword):
            self._take()
            parts.append(rule())
        return parts[0] if len(parts) == 1 else join(tuple(parts))

    def _negated(self) -> Expression:
        token = self._next()
        if token.is_keyword("not"):
            self._take()
            with_inner = self._deeper(token, self._negated)
            return Not(with_inner)
        if token.kind == "(":
            self._take()
            inner = self._deeper(token, self._either)
            if self._next().kind != ")":
                raise self._wrong(f"expected `and`, `or` or `)`{_hint(self._next())}", self._next())
            self._take()
            return inner
        return self._test()

    def _deeper(self, token: Token, rule: Callable[[], Expression]) -> Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._wrong(f"nested deeper than {MAX_DEPTH} levels", token)
        inner = rule()
        self._depth -= 1
        return inner

    def _test(self) -> Expression:
        token = self._take()
        if token.kind != "word" or token.is_keyword(*_KEYWORDS):
            if token.kind == "text":
                raise self._wrong("expected a field; a value comes behind the operator", token)
            raise self._wrong("expected a field, such as `status` or `metric.loss.min`", token)
        try:
            field = field_named(token.segments)
        except UnknownField as error:
            raise self._wrong(f"{quoted(token.text)}: {error}", token) from None
        self._count(token)
        follows = self._take()
        if follows.is_keyword("exists"):
            return Comparison(field, "exists")
        if follows.is_keyword("not") and self._next().is_keyword("in"):
            self._take()
            return Not(self._listed(field, follows))
        if follows.is_keyword("in"):
            return self._listed(field, follows)
        if follows.kind != "operator":
            raise self._wrong(f"expected an operator behind {quoted(token.text)}: = != < <= > >= ~ in exists", follows)
        operator = cast(Operator, follows.text)
        self._check_operator(field, operator, follows)
        return Comparison(field, operator, (self._value(field, operator),))

    def _listed(self, field: Field, token: Token) -> Comparison:
        if self._next().kind != "(":
            raise self._wrong("`in` is followed by a list in parentheses: `in (a, b)`", self._next())
        self._take()
        found = [self._value(field, "in")]
        while self._next().kind == ",":
            self._take()
            found.append(self._value(field, "in"))
            if len(found) > _FREE_VALUES:
                self._count(token)
        if self._next().kind != ")":
            raise self._wrong("expected `,` or `)`", self._next())
        self._take()
        return Comparison(field, "in", tuple(found))

    def _check_operator(self, field: Field, operator: str, token: Token) -> None:
        match field:
            case TagField() | NoteField():
                if operator == "!=":
                    raise self._wrong(f"a run has many {field.name}s: write `not {field.name} = …`", token)
                if operator not in _TAG_OPERATORS:
                    raise self._wrong(f"{field.name}s are text: compare them with =, ~ or in", token)
            case ColumnField(name, "text"):
                if operator not in _TEXT_OPERATORS:
                    raise self._wrong(f"`{name}` is text: compare it with =, !=, ~ or in", token)
            case AttributeField():
                pass
            case _:
                if operator == "~":
                    what = field.kind if isinstance(field, ColumnField) else "number"
                    raise self._wrong(
                        f"{quoted(field.name)} is a {what}: compare it with =, !=, <, <=, >, >= or in", token
                    )

    def _value(self, field: Field, operator: Operator) -> Value:
        token = self._take()
        if token.kind not in ("word", "text"):
            raise self._wrong(f"expected a value{_hint(token)}", token)
        if token.kind == "word":
            if token.is_keyword(*_KEYWORDS):
                raise self._wrong(f'expected a value; the word itself is written "{token.text}"', token)
            if any(segment.is_quoted for segment in token.segments):
                raise self._wrong("quotes go around the whole value", token)
        if isinstance(field, AttributeField):
            return self._loose(field, operator, token)
        if isinstance(field, TagField | NoteField) or (isinstance(field, ColumnField) and field.kind == "text"):
            return token.text
        return self._measure(field, token)

    def _loose(self, field: AttributeField, operator: Operator, token: Token) -> Value:
        """A value of a field whose runs may have numbers or text: the query says which."""
        if operator == "~" or token.kind == "text":
            if operator in _ORDER_OPERATORS:
                raise self._wrong(f"{operator} compares numbers; {quoted(token.text)} is text", token)
            return token.text
        amount = values.number(token.text)
        if amount is not None:
            return amount
        if token.text.lower() in ("true", "false"):
            return float(token.text.lower() == "true")
        if operator in _ORDER_OPERATORS:
            raise self._wrong(f"{operator} compares numbers; {quoted(token.text)} is text", token)
        return token.text

    def _measure(self, field: Field, token: Token) -> Value:
        kind = field.kind if isinstance(field, ColumnField) else "number"
        amount: AnyValue = values.number(token.text)
        if amount is None and kind == "duration":
            amount = values.duration(token.text)
        elif amount is None and kind == "time":
            amount = values.time(token.text, self._now)
        if amount is None:
            raise self._wrong(f"{quoted(token.text)} is {_EXPECTED[kind]}", token)
        return cast(Value, amount)

    def _count(self, token: Token) -> None:
        self._tests += 1
        if self._tests > MAX_TESTS:
            raise self._wrong(f"more than {MAX_TESTS} tests", token)

    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self._tokens[self._at]
        self._at = min(self._at + 1, len(self._tokens) - 1)
        return token

    def _wrong(self, reason: str, token: Token) -> InvalidQuery:
        return InvalidQuery(reason, self._query, token.column)


_EXPECTED = {
    "number": "no finite number",
    "duration": "no duration: write seconds, or 90s, 30m, 1h30m, 2d",
    "time": "no time: write 2025-01-14, 2025-01-14T15:30:00Z, Unix seconds, or 7d for seven days ago",
}


def _hint(token: Token) -> str:
    word = _OTHER_SPELLINGS.get(token.text)
    if word is not None:
        return f": `{token.text}` is written `{word}`"
    return "; text with spaces stands in quotes" if token.kind == "word" else ""
