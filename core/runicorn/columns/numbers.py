"""What can be drawn: the numeric cells of merged rows, and where they are smallest and largest.

A *metric* is a key with a number or boolean in some merged row; `time` and `stage` are none, whatever they hold. A row
counts if it has a value of any metric, be it NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from runicorn.columns.column import BIG, FLOAT, INT, MIXED, NULL, TEXT, Column, Float64Array, Int64Array
from runicorn.columns.frame import Frame

NO_METRICS = frozenset({"time", "stage", "epoch"})
"""Keys that are never metrics."""

_EXACT = 1 << 53  # doubles hold every int up to here


def metric_rows(merged: Frame) -> Frame:
    """The rows of a merged frame that count, with its metrics as the only columns, their texts and nulls left out."""
    numeric = ((key, _numeric(column)) for key, column in merged.columns.items() if key not in NO_METRICS)
    columns = {key: column for key, column in numeric if column is not None}
    if any(column.rows is None for column in columns.values()):
        return Frame(merged.rows, merged.time, merged.step, columns)
    counts = np.zeros(merged.rows, np.bool_)
    for column in columns.values():
        counts[column.rows] = True
    rows = Frame(merged.rows, merged.time, merged.step, columns)
    return rows if counts.all() else rows.pick(np.flatnonzero(counts))


def dense_numbers(column: Column, rows: int) -> Float64Array:
    """The value of each of `rows` rows as a double; NaN where there is none."""
    return _spread(column, column.numbers(), rows)


def comparable(column: Column, rows: int) -> Float64Array:
    """Per row a double that compares as the exact values do; NaN where the value is missing, NaN or infinite."""
    values = column.numbers()
    kinds = set() if column.kinds is None else set(column.kinds.tolist())
    has_big = column.kind == BIG or BIG in kinds
    if has_big or ((column.kind == INT or INT in kinds) and bool((np.abs(values) >= _EXACT).any())):
        values = _ranks(cast("list[float | int]", column.take(np.arange(len(column)), None).values(0, len(column))))
    elif column.kind in (FLOAT, MIXED):
        values = np.where(np.isfinite(values), values, np.nan)
    return _spread(column, values, rows)


def first_extremes(values: Float64Array, bucket: int) -> tuple[Int64Array, Int64Array]:
    """Of each `bucket` values in a row, where the first minimum and the first maximum are.

    NaN compares with nothing; a bucket of nothing else has neither.
    """
    padded = values
    if len(values) % bucket:
        padded = np.concatenate((values, np.full(bucket - len(values) % bucket, np.nan)))
    parts = padded.reshape(-1, bucket)
    is_number = parts == parts
    some = np.flatnonzero(is_number.any(axis=1))
    starts = some * bucket
    if is_number.all():
        low = high = parts
    else:
        low, high = np.where(is_number, parts, np.inf)[some], np.where(is_number, parts, -np.inf)[some]
    return starts + low.argmin(axis=1), starts + high.argmax(axis=1)


def sampled(rows: Frame, buckets: Sequence[int]) -> list[Int64Array]:
    """For each size of buckets, the rows that stand for all: the last, of each bucket the first, and where metrics are extreme.

    A metric without a finite value in a bucket is stood for by its first value there, so that no metric is lost.
    """
    chosen: list[list[Int64Array]] = [
        [np.arange(0, rows.rows, bucket), np.arange(rows.rows)[-1:]] for bucket in buckets
    ]
    for column in rows.columns.values():
        values = comparable(column, rows.rows)
        at = np.arange(rows.rows) if column.rows is None else column.rows
        for parts, bucket in zip(chosen, buckets, strict=True):
            low, high = first_extremes(values, bucket)
            parts += (low, high)
            if len(low) < len(parts[0]):
                owner = at // bucket
                missing = np.isin(owner, low // bucket, invert=True)
                _, first = np.unique(owner[missing], return_index=True)
                parts.append(at[missing][first])
    return [np.unique(np.concatenate(parts)) for parts in chosen]


def _numeric(column: Column) -> Column | None:
    if column.kind in (TEXT, NULL):
        return None
    if column.kinds is None:
        return column if len(column) else None
    keep = (column.kinds != TEXT) & (column.kinds != NULL)
    if keep.all():
        return column
    if not keep.any():
        return None
    at = np.flatnonzero(keep)
    kept = column.take(at, at if column.rows is None else column.rows[at])
    kinds = set(cast("list[int]", np.unique(cast(Int64Array, kept.kinds)).tolist()))
    return Column(kept.rows, kinds.pop(), None, kept.bits, kept.objects) if len(kinds) == 1 else kept


def _spread(column: Column, values: Float64Array, rows: int) -> Float64Array:
    if column.rows is None:
        return values
    out = np.full(rows, np.nan)
    out[column.rows] = values
    return out


def _ranks(values: list[float | int]) -> Float64Array:
    finite = [isinstance(value, int) or value - value == 0.0 for value in values]
    place = {v: i for i, v in enumerate(sorted({v for v, usable in zip(values, finite, strict=True) if usable}))}
    return np.array([place[v] if usable else np.nan for v, usable in zip(values, finite, strict=True)], np.float64)
