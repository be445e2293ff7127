"""`GET /api/runs/{run_id}/metrics_step`, `/metrics` and `/progress`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import apsw
import msgspec
from litestar import Request, Response, get
from litestar.params import FromPath

from runicorn.columns import Frame, Table, encode_table, rows_by_step, rows_by_time
from runicorn.plugin import ModelReader, Pieces, Store, Stream, conditional, find_run, strong_etag
from runicorn_runs import queries
from runicorn_runs.long_series import long_by_step, long_by_time

_SHORT_BYTES = 128 << 10
_SHORT_CELLS = 4000
"""So much of a stream is read, merged and encoded in about a millisecond, if no more cells come of it."""


class MetricRows(msgspec.Struct, frozen=True):
    """Columns in the order of the answer; every row has every column, null where there is no value."""

    columns: list[str]
    rows: list[dict[str, float | int | str | bool | None]]


class Progress(msgspec.Struct, frozen=True):
    """Nothing is known about the progress of runs."""

    available: bool = False
    status: str = "unknown"


@get("/api/runs/{run_id:str}/metrics_step", operation_id="metrics_by_step")
async def metrics_by_step(run_id: FromPath[str], request: Request[Any, Any, Any], store: Store) -> Response[MetricRows]:
    """All metrics of a run, merged by step. What was logged before this request is in the answer."""
    return await _answer(run_id, request, store, rows_by_step, long_by_step)


@get("/api/runs/{run_id:str}/metrics", operation_id="metrics_by_time")
async def metrics_by_time(run_id: FromPath[str], request: Request[Any, Any, Any], store: Store) -> Response[MetricRows]:
    """All metrics of a run, by seconds since its first event."""
    return await _answer(run_id, request, store, rows_by_time, long_by_time)


@get("/api/runs/{run_id:str}/progress", operation_id="run_progress", deprecated=True, sync_to_thread=False)
def run_progress(run_id: FromPath[str]) -> Progress:
    """Kept for old clients: always the same answer, for unknown runs, too."""
    return Progress()


async def _answer(
    run_id: str,
    request: Request[Any, Any, Any],
    store: Store,
    merge: Callable[[list[Frame]], Table],
    stream_by: Callable[[ModelReader, str, apsw.Connection], Iterator[bytes] | None],
) -> Response[MetricRows]:
    stream = Stream("run", await find_run(store, run_id))
    await store.catch_up("runs", stream)
    model = store.model("runs")
    known = model.checkpoint(stream)
    is_short = known is not None and known.offset <= _SHORT_BYTES

    def begin(db: apsw.Connection) -> Pieces:
        slices = stream_by(model, stream.name, db)
        return Pieces(encode_table(merge(queries.metric_frames(db, stream.name))) if slices is None else slices)

    async def answer() -> Response[Any]:
        # Two threads that hand over to each other cost more than a short answer, and far more where all processors are busy.
        body = model.query(short_answer, stream.name, merge) if is_short else None
        if body is not None:
            return Response(body, media_type="application/json")
        return (await model.run(begin)).response()

    return await conditional(request, strong_etag(*model.content_at(known)), answer, counted=known is not None)


def short_answer(db: apsw.Connection, key: str, merge: Callable[[list[Frame]], Table]) -> bytes | None:
    """The whole answer about a run with few events; None if they have so many columns that it takes long."""
    table = merge(queries.metric_frames(db, key))
    return b"".join(encode_table(table)) if table.rows * len(table.columns) <= _SHORT_CELLS else None
