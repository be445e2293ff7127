"""What is wrong with a body: every field, in words, and never the value."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import pytest

from runicorn.errors import BadInput
from runicorn.server.wrong_fields import wrong_fields


class Inner(msgspec.Struct, frozen=True):
    key: str
    size: int | None = None


class Body(msgspec.Struct):
    host: str
    port: int | str | None = 22
    count: Annotated[int, msgspec.Meta(ge=1)] = 1
    ratio: Annotated[float, msgspec.Meta(lt=1)] = 0.5
    width: float | int | None = None
    switch: bool | None = None
    either: str | bool = ""
    tags: list[str] = []
    widths: dict[str, int] = {}
    mode: Literal["a", "b"] = "a"
    inner: Inner = Inner("x")
    note: Annotated[str, msgspec.Meta(min_length=1)] = "x"
    pair: tuple[int, int] = (1, 2)
    shown_as: str = msgspec.field(name="shownAs", default="")
    anything: Any = None


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"port": True}, ("port", "must be an integer, a string or null")),
        ({"count": 0}, ("count", "must be an integer of at least 1")),
        ({"count": "9" * 5000}, ("count", "out of range")),
        ({"count": "x"}, ("count", "must be an integer")),
        ({"ratio": 2}, ("ratio", "must be a number less than 1.0")),
        ({"width": []}, ("width", "must be a number or null")),
        ({"switch": "maybe"}, ("switch", "must be true, false or null")),
        ({"either": 5}, ("either", "must be a string, true or false")),
        ({"tags": ["a", 5]}, ("tags[1]", "must be a string")),
        ({"tags": "a"}, ("tags", "must be a list")),
        ({"widths": {"a": "x"}}, ("widths[...]", "must be an integer")),
        ({"mode": "hunter2"}, ("mode", "not one of the allowed values")),
        ({"inner": {"size": 1}}, ("inner.key", "required")),
        ({"inner": 5}, ("inner", "must be an object")),
        ({"note": ""}, ("note", "must be a string with a length of at least 1")),
        ({"pair": [1]}, ("pair", "must be a list with a length of 2")),
        ({"shownAs": None}, ("shownAs", "must be a string")),
        ({"host": None}, ("host", "must be a string")),
    ],
)
def test_a_wrong_field_is_named_in_words(body: dict[str, Any], found: tuple[str, str]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"host": "h", **body}, Body, strict=False)
    assert wrong_fields(Body, {"host": "h", **body}) == [found]


def test_every_wrong_field_is_found_in_the_order_of_the_struct() -> None:
    body = {"inner": {"size": "x"}, "pair": [1], "port": [], "shown_as": 5}
    assert [field for field, _ in wrong_fields(Body, body)] == ["host", "port", "inner.key", "inner.size", "pair"]
    assert wrong_fields(Body, {"host": "h", "anything": [], "count": "7"}) == []


def test_what_has_the_right_type_is_checked_as_the_handler_does() -> None:
    def refuse(value: str) -> None:
        raise BadInput(f"Invalid value for host: must not be {value}")

    found = wrong_fields(Body, {"host": "h", "count": 0}, checks={"host": refuse, "count": refuse})
    assert found == [("host", "must not be h"), ("count", "must be an integer of at least 1")]
