"""How values from a run become text in an export."""

from __future__ import annotations

import math
import time
from typing import Any

from runicorn.fields import number, without_surrogates

MISSING = "N/A"

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def one_line(text: str) -> str:
    """`text` with every line break as a space."""
    return " ".join(text.splitlines())


def formula_safe(text: str) -> str:
    """`text` so that a spreadsheet does not take it for a formula: with a leading `'` where it looks like one."""
    return "'" + text if text.startswith(_FORMULA_STARTS) else text


def shown_field(value: Any) -> str:
    """A text or number from a side file on one line; `N/A` for anything else."""
    if isinstance(value, str) and value.strip():
        return without_surrogates(one_line(value))
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else MISSING


def shown_value(value: Any) -> str:
    """Any JSON value, as Python prints it; `N/A` for null."""
    return MISSING if value is None else without_surrogates(str(value))


def shown_number(value: float | None) -> str:
    """A number with 6 decimals."""
    return MISSING if value is None else f"{value:.6f}"


def shown_time(value: Any) -> str:
    """Unix seconds as local time, `YYYY-MM-DD HH:MM:SS`; `N/A` if it is no time."""
    seconds = number(value)
    if seconds is None:
        return MISSING
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):
        return MISSING


def as_float(value: int | float) -> float:
    """A number as float: booleans as 1.0 and 0.0, integers beyond its range as infinity."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
