"""Statistics and a small curve of every metric, in one pass and constant memory per metric."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from runicorn.export.run import numbers_in, step_of

Point = tuple[float, float]

_PENDING = 4096
_MAX_BUCKETS = 512


class MetricOverview:
    """What one metric did. Booleans count as 1 and 0; `min`, `max`, `mean` are over finite values."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.count = 0
        """Number of finite values."""
        self.min: float | None = None
        self.max: float | None = None
        self.mean: float | None = None
        self.last: float = math.nan
        """The last value, finite or not."""
        self._pending: list[Point] = []
        self._width = 1
        self._buckets: list[tuple[Point, Point]] = []

    @property
    def curve(self) -> list[Point]:
        """At most 1024 points `(x, value)` in logged order that draw the same line: minimum and maximum per bucket."""
        self._reduce()
        points: list[Point] = []
        for first, second in self._buckets:
            points += [first] if first is second else [first, second]
        return points

    def add(self, x: float, value: float) -> None:
        """One logged value."""
        self.last = value
        if value - value == 0.0:
            self._pending.append((x, value))
            if len(self._pending) >= max(_PENDING, self._width):
                self._reduce()

    def close(self) -> None:
        """All values were added."""
        self._reduce()

    def _reduce(self) -> None:
        points, self._pending = self._pending, []
        if not points:
            return
        values = [value for _, value in points]
        low, high, mean = min(values), max(values), _mean(values)
        if self.min is None or self.max is None or self.mean is None:
            self.min, self.max, self.mean = low, high, mean
        else:
            self.min, self.max = min(self.min, low), max(self.max, high)
            total = self.count + len(values)
            self.mean = self.mean * (self.count / total) + mean * (len(values) / total)
        self.count += len(values)
        self._buckets += (_extremes(points[i : i + self._width]) for i in range(0, len(points), self._width))
        while len(self._buckets) > _MAX_BUCKETS:
            self._width *= 2
            pairs = (self._buckets[i : i + 2] for i in range(0, len(self._buckets), 2))
            self._buckets = [_extremes([point for bucket in pair for point in bucket]) for pair in pairs]


class MetricsOverview:
    """What all metrics did: the number of events, and each metric in first-seen order."""

    def __init__(self, metrics: Iterable[Mapping[str, Any]]) -> None:
        self.events = 0
        found: dict[str, MetricOverview] = {}
        for data in metrics:
            x = step_of(data, self.events)
            self.events += 1
            for key, value in numbers_in(data):
                metric = found.get(key)
                if metric is None:
                    metric = found[key] = MetricOverview(key)
                metric.add(x, value)
        self.metrics = list(found.values())
        for metric in self.metrics:
            metric.close()


def _extremes(points: list[Point]) -> tuple[Point, Point]:
    """The points with minimum and maximum value, in their order; the same point twice if all are equal."""
    low = min(points, key=_value)
    high = max(points, key=_value)
    return (low, high) if points.index(low) <= points.index(high) else (high, low)


def _value(point: Point) -> float:
    return point[1]


def _mean(values: list[float]) -> float:
    try:
        return math.fsum(values) / len(values)
    except OverflowError:
        return math.fsum(value / len(values) for value in values)
