"""Coercing single fields of JSON that others wrote."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runicorn.fields import integer, number, text, without_surrogates

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(ANYTHING)
def test_what_cannot_be_used_is_none_and_all_else_keeps_its_value(value: object):
    plain = not isinstance(value, bool)
    is_number = plain and isinstance(value, (int, float)) and abs(value) <= 1.7e308
    assert (number(value) is not None) == is_number
    assert integer(value) in (None, value)
    assert (integer(value) is None) == (not (plain and isinstance(value, int) and -(2**63) <= value < 2**63))
    assert (text(value) is None) == (not isinstance(value, str))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400, True, "1", None])
def test_only_finite_numbers_are_numbers(value: object):
    assert number(value) is None


@given(st.text(st.characters(categories=None)))
def test_text_without_surrogates_can_be_encoded_and_stays_the_same_otherwise(value: str):
    clean = without_surrogates(value)
    clean.encode()
    if not any("\ud800" <= character <= "\udfff" for character in value):
        assert clean == value


def test_a_lone_surrogate_becomes_one_replacement_character_and_a_pair_its_character():
    assert without_surrogates(json.loads(r'"a\ud800b"')) == "a\ufffdb"
    assert without_surrogates("\ud83d" + "\ude00") == "\U0001f600"
    assert text("\udc80") == "\ufffd"
