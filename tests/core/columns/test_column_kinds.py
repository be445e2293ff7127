"""What a cell is: its kind and its exact value, from JSON to JSON."""

from __future__ import annotations

import math

import numpy as np
import pytest

from runicorn.columns import BIG, BOOL, FLOAT, INT, MIXED, NULL, TEXT, Column, build_frame


def column(*values: object) -> Column:
    """The column of a key with these values; `...` where an event lacks the key."""
    data = [{} if value is ... else {"x": value} for value in values]
    return build_frame([0.0] * len(data), data).columns["x"]


@pytest.mark.parametrize(
    ("value", "kind"),
    [(None, NULL), (1.0, FLOAT), (math.inf, FLOAT), (1, INT), (-(2**63), INT), (True, BOOL), ("1", TEXT), (2**63, BIG)],
)
def test_a_value_keeps_its_kind(value: object, kind: int) -> None:
    found = column(value, value)
    assert found.kind == kind
    assert [(type(v), v) for v in found.values(0, 2)] == [(type(value), value)] * 2


def test_values_of_different_kinds_share_a_column() -> None:
    values = [1, 1.0, True, "1", None, 10**30, -0.0]
    found = column(*values)
    assert found.kind == MIXED
    assert list(map(repr, found.values(0, 7))) == list(map(repr, values))


def test_missing_cells_take_no_room() -> None:
    found = column(..., 0.5, ..., 1.5, [1], {})
    assert found.rows is not None
    assert found.rows.tolist() == [1, 3]
    assert found.values(0, 6) == [None, 0.5, None, 1.5, None, None]
    assert found.values(2, 4) == [None, 1.5]


def test_integers_that_nobody_can_convert_are_null() -> None:
    assert column(10**4299, 1).values(0, 2) == [None, 1]
    assert column(10**4299 - 1).values(0, 1) == [10**4299 - 1]


def test_numbers_are_doubles_and_nan_where_there_is_no_number() -> None:
    found = column(1, 2.5, True, "7", None, 10**30, 10**400, -(10**400))
    expected = [1.0, 2.5, 1.0, math.nan, math.nan, 1e30, math.inf, -math.inf]
    np.testing.assert_array_equal(found.numbers(), expected)


def test_texts_are_kept_once() -> None:
    assert column(*["train"] * 100, "val").objects == ["train", "val"]
