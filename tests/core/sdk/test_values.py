from __future__ import annotations

import enum
import json
import math
from collections import namedtuple
from datetime import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runicorn.events.envelope import encode_event
from runicorn.sdk.values import NotStorable, plain, plain_items, plain_step


class Level(enum.IntEnum):
    LOW = 1


class Color(str, enum.Enum):  # noqa: UP042  # what much training code has
    RED = "red"


class Tensor:
    """What torch and JAX scalars have in common."""

    def __init__(self, value: object) -> None:
        self._value = value

    def item(self) -> object:
        return self._value


class TensorFlowTensor:
    def numpy(self) -> np.ndarray[Any, Any]:
        return np.float32(0.5)


class Hostile:
    @property
    def item(self) -> object:
        raise ZeroDivisionError

    def __int__(self) -> int:
        raise ZeroDivisionError


class HostileKey:
    def __str__(self) -> str:
        raise ZeroDivisionError


Point = namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float64(0.5), 0.5),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.array(7), 7),
        (np.array([7.5]), 7.5),
        (Tensor(2), 2),
        (TensorFlowTensor(), 0.5),
        (Level.LOW, 1),
        (Color.RED, "red"),
        (10**4000, 10**4000),
        ((1, [2, {"a": (3,)}]), [1, [2, {"a": [3]}]]),
        (Point(1, np.int8(2)), [1, 2]),
        ({1: 1, None: 2, (3, 4): 3}, {"1": 1, "None": 2, "(3, 4)": 3}),
        ([np.float64(1)], [1.0]),
    ],
)
def test_values_of_training_code_become_plain(value: object, expected: object):
    found = plain(value)
    assert found == expected
    assert type(found) is type(expected)


def cyclic_list() -> object:
    cycle: list[object] = [1]
    cycle.append({"again": cycle})
    return cycle


def shared_without_end() -> object:
    value: object = 1
    for _ in range(60):
        value = [value, value]
    return value


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        b"bytes",
        {1, 2},
        object(),
        Tensor,
        Tensor(b"x"),
        Tensor(Tensor(1)),
        Hostile(),
        1j,
        Decimal(1),
        datetime(2024, 1, 1),
        np.zeros(3),
        np.datetime64("2024-01-01"),
        10**5000,
        [1, b"x"],
        {"a": {"b": object()}},
        {HostileKey(): 1},
        cyclic_list(),
        shared_without_end(),
        nested(1000),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_plain_form_is_dropped_with_its_key_and_nothing_else(value: object):
    dropped: list[tuple[str, str]] = []
    assert plain_items({"a": 1, "odd": value, "z": 2}, lambda key, why: dropped.append((key, why))) == {"a": 1, "z": 2}
    assert [key for key, _ in dropped] == ["odd"]
    assert dropped[0][1]


def test_the_same_list_twice_is_no_cycle():
    part = [1]
    assert plain([part, part]) == [[1], [1]]


@pytest.mark.parametrize("data", [5, "ab", b"x", [1], object(), Hostile()])
def test_data_that_is_no_mapping_is_dropped_whole(data: object):
    dropped: list[str] = []
    assert plain_items(data, lambda key, why: dropped.append(key)) == {}
    assert dropped == [""]


def test_pairs_are_a_mapping():
    assert plain_items([("a", 1)], lambda key, why: None) == {"a": 1}


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (3, 3),
        (2.7, 2),
        ("5", 5),
        (True, 1),
        (np.int64(4), 4),
        (10**30, 10**30),
        *((odd, None) for odd in (math.nan, math.inf, "5.0", b"x", [], Tensor(9), Hostile(), 10**5000)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_steps_become_integers_where_int_can_make_one(step: object, expected: int | None):
    assert plain_step(step) == expected


def as_read(value: Any) -> Any:
    """A plain value as strict UTF-8 can carry it: paired surrogates become their character, lone ones U+FFFD."""
    match value:
        case str():
            return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        case list():
            return [as_read(item) for item in value]
        case dict():
            return {as_read(key): as_read(item) for key, item in value.items()}
        case _:
            return value


def same(a: Any, b: Any) -> bool:
    """Equal in value and type, NaN equal to NaN."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b or (a != a and b != b)


TEXT = st.text(st.characters(codec=None), max_size=8)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | TEXT
    | st.floats(width=32).map(np.float32)
    | st.integers(-100, 100).map(np.int8)
    | st.booleans().map(np.bool_)
    | st.sampled_from([Level.LOW, Color.RED])
)
ODD = st.binary(max_size=4) | st.sampled_from([object(), {1}, 1j, Hostile(), Hostile, cyclic_list(), np.zeros(2)])
KEYS = TEXT | st.integers() | st.none() | st.booleans()
VALUES = st.recursive(
    SCALARS | ODD,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4) | st.tuples(inner, inner),
    max_leaves=12,
)


@given(st.dictionaries(KEYS, VALUES, max_size=6))
def test_anything_may_be_given_and_what_is_kept_is_read_back_equal_by_another_reader(data: dict[object, object]):
    dropped: list[str] = []
    kept = plain_items(data, lambda key, why: dropped.append(key))
    assert len(kept) + len(dropped) >= len({str(key) for key in data})
    line = encode_event(1.5, "metrics", kept)
    assert line.count(b"\n") == 1
    read = json.loads(line.decode("utf-8", "strict"))
    assert same(read["data"], as_read(kept))


@given(st.dictionaries(TEXT, SCALARS, max_size=6))
def test_scalars_are_never_dropped(data: dict[str, object]):
    def drop(key: str, why: str) -> None:
        raise AssertionError(key)

    assert plain_items(data, drop).keys() == data.keys()


def test_the_reason_of_a_drop_is_in_the_error():
    with pytest.raises(NotStorable, match="contains itself"):
        plain(cyclic_list())
    with pytest.raises(NotStorable, match="nested too deeply"):
        plain(nested(100))
