"""Choosing a few rows that draw the same lines as all of them.

Reserved, as long as there is room: the last row, the first one, then of each metric the first minimum and the first
maximum. (MinMaxLTTB alone loses extremes.) The rest is shared by the metrics: each chooses by MinMaxLTTB over its finite
values. What is still free goes to rows spread evenly.

MinMaxLTTB: Van Der Donckt, Van Der Donckt, Rademaker, Van Hoecke: MinMaxLTTB: Leveraging MinMax-Preselection to Scale
LTTB, arXiv:2305.00332, 2023. LTTB: Steinarsson: Downsampling Time Series for Visual Representation, 2013, section 4.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from runicorn.columns import Float64Array, Int64Array, first_extremes

_RATIO = 4  # preselected points for each chosen one: from 4 on the paper sees no difference to LTTB over all
_FEWEST = 3


def select_rows(
    x: Float64Array, order: Sequence[Float64Array], values: Sequence[Float64Array], most: int
) -> Int64Array:
    """Ascending indices of at most `most` (1 or more) rows; all where they are no more.

    Per metric, in order of importance: `order` compares as its values do, NaN where there is no finite one; `values` are
    where it is drawn. `x` ascends. Deterministic; O(n) per metric.
    """
    rows = len(x)
    if rows <= most:
        return np.arange(rows)
    chosen = dict.fromkeys(_reserved(order, rows))
    if len(chosen) >= most:
        return np.array(sorted(list(chosen)[:most]), np.int64)
    share, more = divmod(most - len(chosen), max(1, len(values)))
    for number, metric in enumerate(values):
        finite = np.flatnonzero(np.isfinite(metric))
        chosen.update(dict.fromkeys(finite[_inner(x[finite], metric[finite], share + (number < more))].tolist()))
    free = most - len(chosen)
    if free > 0:
        is_chosen = np.zeros(rows, np.bool_)
        is_chosen[list(chosen)] = True
        others = np.flatnonzero(~is_chosen)
        chosen.update(dict.fromkeys(others[_spread(len(others), min(free, len(others)))].tolist()))
    return np.array(sorted(chosen), np.int64)


def min_max_lttb(x: Float64Array, y: Float64Array, points: int) -> Int64Array:
    """Ascending indices of `points` (3 or more) of the finite points: the first, the last, and between them MinMaxLTTB's."""
    if len(x) <= points:
        return np.arange(len(x))
    if points < _FEWEST:
        raise ValueError("MinMaxLTTB chooses three points or more")
    kept = np.arange(len(x))
    if len(x) > _RATIO * points:
        kept = _min_max(y, _RATIO * points)
        x, y = x[kept], y[kept]
    return kept[_lttb(_unit(x), _unit(y), points)]


def _reserved(order: Sequence[Float64Array], rows: int) -> Iterable[int]:
    yield rows - 1
    yield 0
    for metric in order:
        for extreme in first_extremes(metric, rows):
            yield from extreme.tolist()


def _inner(x: Float64Array, y: Float64Array, points: int) -> Int64Array:
    """At most `points` indices, without the first and the last."""
    if points < 1 or not len(x):
        return np.empty(0, np.int64)
    return min_max_lttb(x, y, points + 2)[1:-1]


def _min_max(y: Float64Array, points: int) -> Int64Array:
    """The first and the last index, and between them the minimum and the maximum of buckets of equal size."""
    inner = len(y) - 2
    size = max(1, -(-2 * inner // points))
    low, high = first_extremes(y[1:-1], size)
    return np.unique(np.concatenate(([0, len(y) - 1], low + 1, high + 1)))


def _lttb(x: Float64Array, y: Float64Array, points: int) -> Int64Array:
    """Of each bucket the point that spans the largest triangle with the one before and the mean of the next bucket."""
    count = len(x)
    if count <= points:
        return np.arange(count)
    edges = (np.arange(points - 1) * ((count - 2) / (points - 2))).astype(np.int64) + 1
    edges[-1] = count - 1
    ends = np.append(edges[1:], count)
    sums_x, sums_y = (np.concatenate(([0.0], np.cumsum(values))) for values in (x, y))
    means_x = ((sums_x[ends] - sums_x[edges]) / (ends - edges)).tolist()
    means_y = ((sums_y[ends] - sums_y[edges]) / (ends - edges)).tolist()
    xs, ys, starts = x.tolist(), y.tolist(), edges.tolist()
    chosen = [0]
    last = 0
    for bucket in range(points - 2):
        from_x, from_y = xs[last], ys[last]
        across, up = means_x[bucket + 1] - from_x, means_y[bucket + 1] - from_y
        largest = -1.0
        for i in range(starts[bucket], starts[bucket + 1]):
            area = abs((xs[i] - from_x) * up - across * (ys[i] - from_y))
            if area > largest:
                largest, last = area, i
        chosen.append(last)
    chosen.append(count - 1)
    return np.array(chosen, np.int64)


def _unit(values: Float64Array) -> Float64Array:
    """Scaled to 0…1: which triangle is larger stays the same, and nothing overflows."""
    low, high = values.min() / 2, values.max() / 2
    return (values / 2 - low) / (high - low) if high > low else np.zeros(len(values))


def _spread(count: int, points: int) -> Int64Array:
    """`points` of `count` places, evenly."""
    return (np.arange(points) * count + count // 2) // max(1, points)
