"""Percentiles of measured times, and how figures are written in the table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter

import numpy as np


class Times:
    """Measured durations in seconds, at least one."""

    def __init__(self, seconds: Sequence[float]) -> None:
        if not len(seconds):
            raise ValueError("nothing was measured")
        self._seconds = np.asarray(seconds, dtype=np.float64)

    def __len__(self) -> int:
        return len(self._seconds)

    @property
    def p50(self) -> float:
        """The median."""
        return float(np.percentile(self._seconds, 50))

    @property
    def p99(self) -> float:
        """99 of 100 are at most this long."""
        return float(np.percentile(self._seconds, 99))

    @property
    def worst(self) -> float:
        """The longest of all."""
        return float(self._seconds.max())

    def __str__(self) -> str:
        return f"p50 {duration(self.p50)}, p99 {duration(self.p99)}"


def timed(action: Callable[[], object]) -> float:
    """Seconds that one call of `action` takes."""
    start = perf_counter()
    action()
    return perf_counter() - start


def alternated(ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> tuple[Times, Times]:
    """Times of both, called in turn: what slows the machine down for a while slows both.

    Each is called once before, unmeasured.
    """
    ours()
    theirs()
    pairs = [(timed(ours), timed(theirs)) for _ in range(rounds)]
    return Times([pair[0] for pair in pairs]), Times([pair[1] for pair in pairs])


def duration(seconds: float) -> str:
    """A duration with three digits and the unit that suits it."""
    if seconds < 1e-3:
        return f"{_digits(seconds * 1e6)} µs"
    if seconds < 1:
        return f"{_digits(seconds * 1e3)} ms"
    return f"{_digits(seconds)} s"


def amount(number: float) -> str:
    """A count with thin groups of three digits: `12 345`."""
    return f"{number:,.0f}".replace(",", " ")


def mebibytes(size: float) -> str:
    """Bytes as MiB."""
    return f"{_digits(size / 2**20)} MiB"


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
