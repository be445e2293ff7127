"""Fields of JSON files that others wrote: each is read alone, and what cannot be used counts as absent."""

from __future__ import annotations

import math


def text(value: object) -> str | None:
    """A string as it is, with lone surrogates replaced; None for anything else."""
    if not isinstance(value, str):
        return None
    return value if value.isascii() else value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def number(value: object) -> float | None:
    """A finite number as float; None for anything else, booleans included."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        result = float(value)
    except OverflowError:
        return None
    return result if math.isfinite(result) else None


def integer(value: object) -> int | None:
    """An integer of at most 64 bits; None for anything else, booleans included."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if -(1 << 63) <= value < 1 << 63 else None
