"""What an event changed is what differs from the facts before it."""

from __future__ import annotations

import math

import pytest

from runicorn.history.entries import FieldChange
from runicorn.history.facts import Facts, same


def test_a_field_is_changed_from_its_default_and_only_by_another_value() -> None:
    facts = Facts({"tags": []})
    assert facts.set("tags", []) == []
    assert facts.set("tags", ["a"]) == [FieldChange("tags", [], ["a"])]
    assert facts.set("tags", ["a"]) == []
    assert facts.set("status", "running") == [FieldChange("status", None, "running")]


def test_of_an_unknown_field_every_value_is_a_change_and_then_it_is_known() -> None:
    facts = Facts({"tags": []})
    facts.forget(["tags"])
    assert facts.set("tags", []) == [FieldChange("tags", None, [], is_before_known=False)]
    assert facts.set("tags", ["a"]) == [FieldChange("tags", [], ["a"])]


def test_keys_of_an_unknown_object_become_known_one_by_one() -> None:
    facts = Facts({})
    facts.forget(["summary"])
    assert facts.update("summary", {"a": 1}) == [FieldChange("summary.a", None, 1, is_before_known=False)]
    assert facts.update("summary", {"a": 2, "b": 1}) == [
        FieldChange("summary.a", 1, 2),
        FieldChange("summary.b", None, 1, is_before_known=False),
    ]
    assert facts.replace("summary", {"b": 1, "c": 1}) == [
        FieldChange("summary.c", None, 1, is_before_known=False),
        FieldChange("summary.a", 2, None),
    ]
    assert facts.update("summary", {"d": 1}) == [FieldChange("summary.d", None, 1)]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (1, 1.0, False),
        (1, True, False),
        (math.nan, math.nan, True),
        ([1, {"a": math.nan}], [1, {"a": math.nan}], True),
        ({"a": 1}, {"a": 1, "b": None}, False),
        (None, None, True),
        ([], None, False),
    ],
)
def test_values_of_json_are_compared_as_they_were_written(one: object, other: object, expected: bool) -> None:
    assert same(one, other) is expected
