"""A plot as JSON, as CSV, or as an Arrow stream: what the header `Accept` asks for."""

from __future__ import annotations

import csv
import importlib.util
import io
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import msgspec
import numpy as np

from runicorn.columns import BOOL, INT, Column, Table, dense_numbers, encode_rows
from runicorn.plugin import RunicornError, formula_safe

Format = Literal["json", "csv", "arrow"]

MEDIA_TYPES: dict[Format, str] = {
    "json": "application/json",
    "csv": "text/csv",
    "arrow": "application/vnd.apache.arrow.stream",
}
_ACCEPTED: dict[str, Format] = {
    "application/json": "json",
    "application/*": "json",
    "*/*": "json",
    "text/csv": "csv",
    "application/vnd.apache.arrow.stream": "arrow",
}
_ROWS_PER_SLICE = 1000


class ArrowMissing(RunicornError):
    """The optional library for Arrow is not installed, and the client takes nothing else."""

    status = 406

    def __init__(self) -> None:
        super().__init__(
            "Arrow needs the extra 'arrow': pip install 'runicorn[arrow]'. Ask for application/json or text/csv."
        )


def chosen_format(accept: str | None) -> Format:
    """The format that a client likes best; JSON if several alike, or none. ArrowMissing if only that will do."""
    liked: dict[Format, float] = {}
    for part in (accept or "*/*").split(","):
        name, *parameters = (item.strip().lower() for item in part.split(";"))
        found = _ACCEPTED.get(name)
        if found is not None:
            liked[found] = max(liked.get(found, 0.0), _quality(parameters))
    if liked.get("arrow") and importlib.util.find_spec("pyarrow") is None:
        del liked["arrow"]
        if not any(liked.values()):
            raise ArrowMissing
    return max(("json", "csv", "arrow"), key=lambda name: liked.get(name, 0.0))


def encode_json(keys: tuple[str, ...], tables: Iterable[Table], rest: Callable[[], dict[str, Any]]) -> Iterator[bytes]:
    """`{"columns": …, "rows": …, …}`; `rest()` is asked for the other keys once all rows are encoded."""
    yield from encode_rows(keys, tables)
    yield b"," + msgspec.json.encode(rest())[1:]


def encode_csv(keys: tuple[str, ...], tables: Iterable[Table]) -> Iterator[bytes]:
    """Names in the first line, then the rows; empty where there is no finite value. Lines end in CR LF."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    if keys:
        writer.writerow(map(formula_safe, keys))
    for table in tables:
        columns = [table.columns.get(key) for key in keys]
        for start in range(0, table.rows, _ROWS_PER_SLICE):
            stop = min(start + _ROWS_PER_SLICE, table.rows)
            cells = [[None] * (stop - start) if c is None else _finite(c.values(start, stop)) for c in columns]
            writer.writerows(zip(*cells, strict=True))
            yield text.getvalue().encode()
            text.seek(0)
            text.truncate()
    if text.tell():
        yield text.getvalue().encode()


def encode_arrow(keys: tuple[str, ...], tables: Iterable[Table]) -> Iterator[bytes]:
    """An Arrow IPC stream with a batch for each table. Steps are int64 (or doubles, beyond 64 bits), metrics doubles."""
    import pyarrow as pa

    sink = io.BytesIO()
    writer: Any = None
    for table in tables:
        arrays = [_arrow_array(pa, table.columns.get(key), table.rows, is_step=at == 0) for at, key in enumerate(keys)]
        batch = pa.RecordBatch.from_arrays(arrays, names=list(keys))
        if writer is None:
            writer = pa.ipc.new_stream(sink, batch.schema)
        writer.write_batch(batch)
        yield sink.getvalue()
        sink.seek(0)
        sink.truncate()
    if writer is None:
        fields = [(key, pa.int64() if at == 0 else pa.float64()) for at, key in enumerate(keys)]
        writer = pa.ipc.new_stream(sink, pa.schema(fields))
    writer.close()
    yield sink.getvalue()


def _arrow_array(pa: Any, column: Column | None, rows: int, *, is_step: bool) -> Any:
    if column is None:
        return pa.nulls(rows, pa.float64())
    if is_step and column.kind in (INT, BOOL):
        return pa.array(column.bits)
    values = dense_numbers(column, rows)
    return pa.array(values, mask=~np.isfinite(values))


def _finite(values: Iterable[object]) -> list[object]:
    return [None if isinstance(value, float) and value - value != 0.0 else value for value in values]


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return float(parameter[2:])
            except ValueError:
                return 0.0
    return 1.0
