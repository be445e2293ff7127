"""Moments as people write them."""

from __future__ import annotations

import pytest

from runicorn.errors import BadInput
from runicorn.moments import parse_moment

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("text", "ago"), [("90s", 90), ("30min", 1800), ("2h", 7200), ("1.5d", 129600), ("1w", 604800), (" 5 m ", 300)]
)
def test_a_duration_is_before_now(text: str, ago: float) -> None:
    assert parse_moment(text, NOW) == NOW - ago


@pytest.mark.parametrize("text", ["2023-11-14T22:13:20Z", "2023-11-14T23:13:20+01:00", "2023-11-14 22:13:20+00:00"])
def test_iso_8601_with_an_offset(text: str) -> None:
    assert parse_moment(text, 0.0) == NOW


@pytest.mark.parametrize("text", ["", "soon", "2x", "-2h", "nan", "inf", "2023-13-01", "1" * 400 + "d", "2h\n1h"])
def test_anything_else_is_no_time(text: str) -> None:
    with pytest.raises(BadInput, match="is no time"):
        parse_moment(text, NOW)
