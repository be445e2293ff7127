"""One column of cells: what the events of a frame say about one key, each value exactly as it was written.

A cell is missing, or it has a kind: null, float (NaN and infinities included), int of any size, bool, text. `1`, `1.0` and
`true` are three different cells, `-0.0` is not `0.0`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import compress
from types import NoneType
from typing import Any, TypeAlias, cast

import msgspec
import numpy as np
import numpy.typing as npt

from runicorn.fields import without_surrogates

Int64Array: TypeAlias = npt.NDArray[np.int64]
Float64Array: TypeAlias = npt.NDArray[np.float64]
UInt8Array: TypeAlias = npt.NDArray[np.uint8]
Value: TypeAlias = float | int | bool | str | None

MISSING, NULL, FLOAT, INT, BOOL, TEXT, BIG = range(7)
"""Kinds of cells. They are stored: their meaning never changes. `BIG` is an int beyond 64 bits."""
MIXED = 0
"""The kind of a column whose values differ in kind."""

# A longer integer becomes null, whichever parser has read it (CPython converts 4300 digits, `parse_json` 4299).
_TOO_LONG = 10**4299
_MIN_INT64, _MAX_INT64 = -(1 << 63), (1 << 63) - 1

# Whatever else a JSON parser returns is a list or an object: dropped, so missing.
_KIND_OF_TYPE: dict[type, int] = {NoneType: NULL, float: FLOAT, int: INT, bool: BOOL, str: TEXT}


class Column(msgspec.Struct, frozen=True, eq=False):
    """The values of one key, in row order. Arrays are never written to after the column was made."""

    rows: Int64Array | None
    """The rows that have a value, ascending; None: every row has one."""
    kind: int
    """The kind of every value, or `MIXED`."""
    kinds: UInt8Array | None
    """The kind of each value where they differ, else None."""
    bits: Int64Array
    """Per value: an int itself, the bits of a float, 0 or 1 for a bool, a position in `objects` for text and big ints."""
    objects: Sequence[str | int] = ()
    """Texts and big ints, each once."""

    def __len__(self) -> int:
        """The number of values; missing cells do not count."""
        return len(self.bits)

    def kind_of_each(self) -> UInt8Array:
        """The kind of each value, also where all are of one kind."""
        if self.kinds is None:
            return repeated(np.uint8(self.kind), len(self.bits))
        return self.kinds

    def numbers(self) -> Float64Array:
        """Each value as a double, so ints beyond 2^53 are rounded; bools are 0 and 1; NaN for null and text."""
        if self.kind == FLOAT:
            return self.bits.view(np.float64)
        kinds = self.kind_of_each()
        out = np.full(len(self.bits), np.nan)
        for kind in (FLOAT, INT, BOOL, BIG):
            mask = kinds == kind
            bits = self.bits[mask]
            if kind == FLOAT:
                out[mask] = bits.view(np.float64)
            elif kind == BIG and len(bits):
                out[mask] = [_as_float(cast(int, self.objects[i])) for i in bits.tolist()]
            else:
                out[mask] = bits
        return out

    def values(self, start: int, stop: int) -> list[Value]:
        """The cells of rows `start` to `stop` as Python objects; None for null and for missing."""
        if self.rows is None:
            return self._objects_of(start, stop)
        first, last = (int(i) for i in np.searchsorted(self.rows, (start, stop)))
        out: list[Value] = [None] * (stop - start)
        for row, value in zip((self.rows[first:last] - start).tolist(), self._objects_of(first, last), strict=True):
            out[row] = value
        return out

    def take(self, at: Int64Array, rows: Int64Array | None) -> Column:
        """The values at positions `at` of this column, as a column with those `rows`."""
        kinds = None if self.kinds is None else self.kinds[at]
        return Column(rows, self.kind, kinds, self.bits[at], self.objects)

    def slice(self, start: int, stop: int) -> Column | None:
        """Rows `start` to `stop`, counted from `start`; None if none of them has a value."""
        first, last, rows = start, stop, None
        if self.rows is not None:
            first, last = (int(i) for i in np.searchsorted(self.rows, (start, stop)))
            if last - first < stop - start:
                rows = self.rows[first:last] - start
        if first == last:
            return None
        kinds = None if self.kinds is None else self.kinds[first:last]
        return Column(rows, self.kind, kinds, self.bits[first:last], self.objects)

    def pick(self, at: Int64Array) -> Column | None:
        """The values of the rows `at` (ascending, each once), as rows 0, 1, …; None if none of them has a value."""
        if self.rows is None:
            return self.take(at, None) if len(at) else None
        if not len(self.rows):
            return None
        place = np.searchsorted(self.rows, at)
        place[place == len(self.rows)] = 0
        found = self.rows[place] == at
        if not found.any():
            return None
        return self.take(place[found], None if found.all() else np.flatnonzero(found))

    def _objects_of(self, first: int, last: int) -> list[Value]:
        bits = self.bits[first:last]
        if self.kinds is None:
            return _values_of_kind(self.kind, bits, self.objects)
        kinds = self.kinds[first:last]
        out = np.empty(len(bits), dtype=object)
        for kind in (FLOAT, INT, BOOL, TEXT, BIG):
            mask = kinds == kind
            out[mask] = _values_of_kind(kind, bits[mask], self.objects)
        return cast("list[Value]", out.tolist())


EMPTY = Column(np.empty(0, np.int64), FLOAT, None, np.empty(0, np.int64))
"""The column without any value."""


def column_of(values: Sequence[object], rows: Int64Array | None = None) -> Column | None:
    """A column of values as a JSON parser returns them, all or (with `rows`) at these ascending rows.

    Lists, objects and `msgspec.UNSET` become missing; ints of 4300 digits and more null; lone surrogates U+FFFD.
    None if no value is left.
    """
    types = set(map(type, values))
    if types == {float}:
        return Column(rows, FLOAT, None, np.array(values, np.float64).view(np.int64))
    if types == {int}:
        try:
            return Column(rows, INT, None, np.array(values, np.int64))
        except OverflowError:
            pass
    return _general_column(values, rows)


def repeated(value: np.int64 | np.uint8, count: int) -> npt.NDArray[Any]:
    """`count` times the same value in the memory of one, read-only. (`np.broadcast_to` takes five times as long.)"""
    return np.ndarray((count,), value.dtype, value.tobytes(), strides=(0,))


def is_too_long(value: int) -> bool:
    """Whether an int has more digits than are read and written: such a value is null."""
    return not -_TOO_LONG < value < _TOO_LONG


def is_encodable(text: str) -> bool:
    """Whether `text` has no lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def encodable(text: str) -> str:
    """`text` with lone surrogates replaced by U+FFFD."""
    return text if is_encodable(text) else without_surrogates(text)


def concat_columns(parts: Sequence[tuple[int, int, Column]], rows: int) -> Column:
    """One column of `rows` rows from parts `(first row, number of rows, column)`, in row order."""
    columns = [column for _, _, column in parts]
    bits = [column.bits for column in columns]
    objects: Sequence[str | int] = ()
    if any(column.objects for column in columns):
        position: dict[str | int, int] = {}
        bits = [_repositioned(column, position) for column in columns]
        objects = list(position)
    kinds = {column.kind for column in columns}
    kind = kinds.pop() if len(kinds) == 1 else MIXED
    return Column(
        _concat_rows(parts, rows),
        kind,
        np.concatenate([column.kind_of_each() for column in columns]) if kind == MIXED else None,
        np.concatenate(bits),
        objects,
    )


def _concat_rows(parts: Sequence[tuple[int, int, Column]], rows: int) -> Int64Array | None:
    if sum(len(column) for _, _, column in parts) == rows:
        return None
    return np.concatenate(
        [np.arange(first, first + n) if c.rows is None else c.rows + first for first, n, c in parts], dtype=np.int64
    )


def _repositioned(column: Column, position: dict[str | int, int]) -> Int64Array:
    """The bits of `column` with positions in the keys of `position`, which is extended by what it lacks."""
    if not column.objects:
        return column.bits
    new = np.array([position.setdefault(item, len(position)) for item in column.objects], np.int64)
    kinds = column.kind_of_each()
    mask = (kinds == TEXT) | (kinds == BIG)
    bits = column.bits.copy()
    bits[mask] = new[column.bits[mask]]
    return bits


def _general_column(values: Sequence[object], rows: Int64Array | None) -> Column | None:
    of_type = _KIND_OF_TYPE.get
    kinds = np.frombuffer(bytearray(of_type(type(value), MISSING) for value in values), np.uint8)
    present = kinds != MISSING
    if not present.all():
        values = list(compress(values, present.tolist()))
        kinds = kinds[present]
        at = np.flatnonzero(present)
        rows = at if rows is None else rows[at]
    if not values:
        return None
    bits = np.zeros(len(values), np.int64)
    position: dict[str | int, int] = {}
    found = set(kinds.tolist())
    for kind in found - {NULL}:
        mask = kinds == kind
        chosen = compress(values, mask.tolist())
        if kind == FLOAT:
            bits[mask] = np.array(list(chosen), np.float64).view(np.int64)
        elif kind == TEXT:
            bits[mask] = [
                position.setdefault(text, len(position)) for text in map(encodable, cast("Iterable[str]", chosen))
            ]
        elif kind == BOOL:
            bits[mask] = np.array(list(chosen), np.bool_)
        else:
            _set_ints(mask, list(cast("Iterable[int]", chosen)), kinds, bits, position)
    found = set(kinds.tolist())
    kind = found.pop() if len(found) == 1 else MIXED
    return Column(rows, kind, kinds if kind == MIXED else None, bits, list(position))


def _set_ints(
    mask: npt.NDArray[np.bool_], values: list[int], kinds: UInt8Array, bits: Int64Array, position: dict[str | int, int]
) -> None:
    try:
        bits[mask] = np.array(values, np.int64)
        return
    except OverflowError:
        pass
    for row, value in zip(np.flatnonzero(mask).tolist(), values, strict=True):
        if _MIN_INT64 <= value <= _MAX_INT64:
            bits[row] = value
        elif not is_too_long(value):
            kinds[row] = BIG
            bits[row] = position.setdefault(value, len(position))
        else:
            kinds[row] = NULL


def _values_of_kind(kind: int, bits: Int64Array, objects: Sequence[str | int]) -> list[Value]:
    if kind == FLOAT:
        return cast("list[Value]", bits.view(np.float64).tolist())
    if kind == INT:
        return cast("list[Value]", bits.tolist())
    if kind == BOOL:
        return cast("list[Value]", bits.astype(np.bool_).tolist())
    if kind == NULL:
        return [None] * len(bits)
    return [objects[i] for i in bits.tolist()]


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return np.inf if value > 0 else -np.inf
