"""Tables as JSON, slice by slice, without an object per cell that lives longer than its slice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np

from runicorn.columns.column import FLOAT, Column, Int64Array, Value
from runicorn.columns.rows import Table

_NO_ROWS: Int64Array = np.empty(0, np.int64)
_NOTHING = Column(_NO_ROWS, FLOAT, None, _NO_ROWS)  # has rows, but a value in none
_CELLS = 6000  # per slice: about half a millisecond
_MAX_ROWS = 2000


def encode_table(table: Table) -> Iterator[bytes]:
    """`{"columns":[…],"rows":[{…},…]}` in UTF-8, in pieces of at most 2000 rows; each takes about a millisecond.

    Every row has every column. Missing, NaN and infinities are null; ints have all their digits.
    """
    yield from encode_rows(tuple(table.columns), [table])
    yield b"}"


def encode_rows(keys: tuple[str, ...], tables: Iterable[Table]) -> Iterator[bytes]:
    """`{"columns":[…],"rows":[{…},…]` with these columns, the object still open: for tables that come one by one."""
    yield b'{"columns":' + _encode(keys) + b',"rows":['
    rows = _row_type(keys)
    size = max(1, min(_MAX_ROWS, _CELLS // max(1, len(keys))))
    is_first = True
    for table in tables:
        columns = [table.columns.get(key, _NOTHING) for key in keys]
        for start in range(0, table.rows, size):
            stop = min(start + size, table.rows)
            text = _encode(list(map(rows, *(column.values(start, stop) for column in columns))))[1:-1]
            yield text if is_first else b"," + text
            is_first = False
    yield b"]"


@lru_cache(maxsize=64)
def _row_type(keys: tuple[str, ...]) -> Callable[..., object]:
    """Makes a row, encoded as an object with these keys, from its values."""
    names = [f"f{i}" for i in range(len(keys))]
    try:
        return msgspec.defstruct(
            "Row", [(name, Any) for name in names], rename=dict(zip(names, keys, strict=True)), gc=False
        )
    except ValueError:  # msgspec refuses fields named by quotes, backslashes, control characters

        def row(*values: Value) -> dict[str, Value]:
            return dict(zip(keys, values, strict=True))

        return row


_encode = msgspec.json.Encoder().encode
