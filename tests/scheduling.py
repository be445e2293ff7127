"""Which test runs when, if several processes share them: one that takes long and begins last is waited for by all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def longest_first(items: Sequence[T], seconds: Callable[[T], float], shares: int) -> list[T]:
    """The items such that each of `shares` pieces, which xdist cuts from them, begins with its longest ones.

    Items of 0 seconds stay in their order, and beside their neighbours.
    """
    long = sorted((item for item in items if seconds(item)), key=seconds, reverse=True)
    short = [item for item in items if not seconds(item)]
    ordered: list[T] = []
    for left in range(
        shares, 0, -1
    ):  # the pieces from the last one on are the larger ones, if it does not come out even
        size = (len(items) - len(ordered)) // left
        own = long[left - 1 :: shares]
        ordered += own + short[: size - len(own)]
        del short[: size - len(own)]
    return ordered
