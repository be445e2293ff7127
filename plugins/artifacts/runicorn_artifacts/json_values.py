"""Values for files and answers that strict JSON readers must be able to read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast


def finite(value: Any) -> Any:
    """`value` with None in place of the numbers that JSON lacks (NaN, infinities); tuples become lists."""
    if isinstance(value, float):
        return value if value - value == 0.0 else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in cast(Mapping[Any, Any], value).items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in cast(list[Any], value)]
    return value
