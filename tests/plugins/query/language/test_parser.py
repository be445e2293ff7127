"""What queries mean, and what people are told about those that mean nothing."""

from __future__ import annotations

import time
from datetime import datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runicorn_query.language import (
    MAX_DEPTH,
    MAX_LENGTH,
    MAX_TESTS,
    All,
    Any,
    AttributeField,
    ColumnField,
    Comparison,
    InvalidQuery,
    MetricField,
    Not,
    Span,
    TagField,
    compile_condition,
    parse,
)

STATUS, CREATED = ColumnField("status", "text"), ColumnField("created", "time")
NOW = 1_700_000_000.0


def test_and_binds_more_tightly_than_or_and_not_most_tightly() -> None:
    a, b, c = (Comparison(STATUS, "=", (value,)) for value in "abc")
    assert parse("status=a or status=b and not status=c") == Any((a, All((b, Not(c)))))
    assert parse("(status = a or status = b) AND status = c") == All((Any((a, b)), c))
    assert parse("not not status=a") == Not(Not(a))


@pytest.mark.parametrize(
    ("query", "field", "operator", "values"),
    [
        ("status = finished", STATUS, "=", ("finished",)),
        ("status == 'a \"b\" \\'c\\''", STATUS, "=", ("a \"b\" 'c'",)),
        ('status != "and"', STATUS, "!=", ("and",)),
        ("name ~ 50%_off", ColumnField("name", "text"), "~", ("50%_off",)),
        ("id in (a, 'b c',5)", ColumnField("id", "text"), "in", ("a", "b c", "5")),
        ("tags = baseline", TagField(), "=", ("baseline",)),
        ("duration_seconds >= 1h30m", ColumnField("duration", "duration"), ">=", (5400.0,)),
        ("best_metric_value<-1.5e-3", ColumnField("best_metric", "number"), "<", (-0.0015,)),
        ("created > 7d", CREATED, ">", (NOW - 7 * 86400,)),
        ("created < 1699999999.5", CREATED, "<", (1_699_999_999.5,)),
        ("created >= 2025-01-14T15:30:00Z", CREATED, ">=", (1_736_868_600.0,)),
        ("created >= 2025-01-14T15:30+02:00", CREATED, ">=", (1_736_861_400.0,)),
        ("metric.loss < 1", MetricField("loss", "last"), "<", (1.0,)),
        ("metric.loss.min < 1", MetricField("loss", "min"), "<", (1.0,)),
        ("metric.val/loss-2.max > 1", MetricField("val/loss-2", "max"), ">", (1.0,)),
        ("metric.a.b.count = 5", MetricField("a.b", "count"), "=", (5.0,)),
        ('metric."a.min" < 1', MetricField("a.min", "last"), "<", (1.0,)),
        ("metric.'val loss'.last < 1", MetricField("val loss", "last"), "<", (1.0,)),
        ('metric."min".min < 1', MetricField("min", "min"), "<", (1.0,)),
        ("metric.min < 1", MetricField("min", "last"), "<", (1.0,)),
        ("config.optimizer.lr = 0.1", AttributeField("config", "optimizer.lr"), "=", (0.1,)),
        ('config.optimizer."lr (max)" = 0.1', AttributeField("config", "optimizer.lr (max)"), "=", (0.1,)),
        ("config.amp = TRUE", AttributeField("config", "amp"), "=", (1.0,)),
        ('config.seed = "5"', AttributeField("config", "seed"), "=", ("5",)),
        ("config.seed ~ 5", AttributeField("config", "seed"), "~", ("5",)),
        ("summary.acc exists", AttributeField("summary", "acc"), "exists", ()),
        ("config.optimizer in (adam, 1)", AttributeField("config", "optimizer"), "in", ("adam", 1.0)),
    ],
)
def test_one_comparison(query: str, field: object, operator: str, values: tuple[object, ...]) -> None:
    assert parse(query, NOW) == Comparison(field, operator, values)  # type: ignore[arg-type]  # as wrong as a caller can be, or rows of a known table


def test_a_date_is_a_whole_day_of_local_time() -> None:
    parsed = parse("created = 2025-01-14")
    assert parsed == Comparison(
        CREATED, "=", (Span(datetime(2025, 1, 14).timestamp(), datetime(2025, 1, 15).timestamp()),)
    )


def test_not_in_is_the_complement() -> None:
    assert parse("status not in (a)") == Not(Comparison(STATUS, "in", ("a",)))


@pytest.mark.parametrize(
    ("query", "column", "reason"),
    [
        ("", 1, "the query is empty"),
        ("  ", 3, "the query is empty"),
        ("foo = 1", 1, "no such field"),
        ("status", 7, "expected an operator"),
        ("status =", 9, "expected a value"),
        ("status = and", 10, 'the word itself is written "and"'),
        ("status = a b", 12, "text with spaces stands in quotes"),
        ("status = a && name = b", 12, "`&&` is written `and`"),
        ("status > 5", 8, "`status` is text: compare it with =, !=, ~ or in"),
        ("tag != x", 5, "write `not tag = …`"),
        ("tag < x", 5, "tags are text"),
        ("created ~ x", 9, "is a time: compare it with"),
        ("metric.loss ~ 1", 13, "is a number: compare it with"),
        ("metric.loss < low", 15, "is no finite number"),
        ("metric.loss < nan", 15, "is no finite number"),
        ("metric.loss < 1e999", 15, "is no finite number"),
        ("created > yesterday", 11, "2025-01-14T15:30:00Z"),
        ("created > 2025-02-30", 11, "is no time"),
        ("duration < 1y", 12, "is no duration"),
        ("config.lr < adam", 13, "< compares numbers"),
        ("config. = 1", 1, "is followed by a name"),
        ("metric..x = 1", 1, "is followed by a name"),
        ("(status = a", 12, "expected `and`, `or` or `)`"),
        ("status = a)", 11, "no parenthesis is open here"),
        ("status in a", 11, "`in` is followed by a list"),
        ("status in (a", 13, "expected `,` or `)`"),
        ("status in ()", 12, "expected a value"),
        ('name = "abc', 8, "this quote is never closed"),
        ("! status = a", 1, "write `not`"),
        ('"status" = a', 1, "expected a field"),
        ("5 = status", 1, "no such field"),
        ('status = a."b"', 10, "quotes go around the whole value"),
    ],
)
def test_a_mistake_is_shown_where_it_is(query: str, column: int, reason: str) -> None:
    with pytest.raises(InvalidQuery) as found:
        parse(query)
    assert (found.value.column, reason in found.value.reason) == (column, True), found.value
    line, caret = found.value.pointer.split("\n")
    assert caret.index("^") == column - 1
    assert line == query


def test_a_long_query_is_shown_around_the_mistake() -> None:
    query = f"{'status = a and ' * 20}status ! b{' and status = c' * 20}"
    with pytest.raises(InvalidQuery) as found:
        parse(query)
    line, caret = found.value.pointer.split("\n")
    assert len(line) <= 102
    assert line[caret.index("^")] == "!"


def test_length_depth_and_number_of_tests_are_limited() -> None:
    assert parse("(" * MAX_DEPTH + "status = a" + ")" * MAX_DEPTH)
    assert parse(" and ".join(["status = a"] * MAX_TESTS))
    for query, reason in (
        ("(" * (MAX_DEPTH + 1) + "status = a" + ")" * (MAX_DEPTH + 1), "nested deeper"),
        ("not " * (MAX_DEPTH + 1) + "status = a", "nested deeper"),
        (" or ".join(["status = a"] * (MAX_TESTS + 1)), "more than 32 tests"),
        (f"status in ({', '.join(['a'] * 100)})", "more than 32 tests"),
        ("a" * (MAX_LENGTH + 1), "longer than"),
    ):
        with pytest.raises(InvalidQuery, match=reason):
            parse(query)


HOSTILE = [
    "(" * MAX_LENGTH,
    "not " * (MAX_LENGTH // 4),
    "'\\" * (MAX_LENGTH // 2),
    "1" * MAX_LENGTH,
    "status=a or " * 341,
]


@pytest.mark.parametrize(
    "query", [*HOSTILE, "created > " + "1s" * 2000 + "x", "created > " + "9" * 4000 + "d", "." * MAX_LENGTH]
)
def test_hostile_queries_are_refused_without_much_work(query: str) -> None:
    begin = time.process_time()
    with pytest.raises(InvalidQuery):
        parse(query)
    assert time.process_time() - begin < 1.0  # linear: it takes a few milliseconds


WORDS = [
    "status",
    "=",
    "!=",
    "~",
    "<",
    "in",
    "(",
    ")",
    ",",
    "and",
    "or",
    "not",
    "a",
    "5",
    "7d",
    "2025-01-14",
    '"',
    "'",
    ".",
]
WORDS += ["metric.loss.min", "config.", "exists", " ", "\\", "tag", "created", "\n", "é", "\0"]


@given(
    st.one_of(st.text(), st.lists(st.sampled_from(WORDS)).map(" ".join), st.lists(st.sampled_from(WORDS)).map("".join))
)
@example("created > 9999-12-31")
@example("created > 0001-01-01T00:00:00+23:59")
def test_every_text_is_a_query_or_refused(query: str) -> None:
    column = 1
    try:
        assert compile_condition(parse(query)).row
    except InvalidQuery as error:
        column = error.column
    assert 1 <= column <= len(query) + 1
