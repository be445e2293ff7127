"""Fields of JSON that others wrote, coerced one by one: what cannot be used counts as absent, and hides nothing else.

Light on purpose: the SDK imports this module in the training process.
"""

from __future__ import annotations

import math


def text(value: object) -> str | None:
    """A string as it is, with lone surrogates replaced; None for anything else."""
    if isinstance(value, str):
        return value if value.isascii() else without_surrogates(value)
    return None


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


def without_surrogates(value: str) -> str:
    """`value` with U+FFFD in place of lone surrogates, which JSON can hold and UTF-8 cannot; pairs become a character."""
    return value if value.isascii() else value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
