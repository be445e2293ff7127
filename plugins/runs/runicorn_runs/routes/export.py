"""`GET /api/export/{run_id}/csv` and `/report`: one run for other programs and for people."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from litestar import Response, get
from litestar.params import FromPath, FromQuery
from litestar.response import Stream as StreamedResponse

from runicorn.plugin import (
    BadInput,
    NotFound,
    Store,
    build_report,
    csv_pieces,
    find_run,
    html_pieces,
    markdown_pieces,
    open_run,
)
from runicorn_runs.attachment import attachment
from runicorn_runs.streaming import next_piece, rest

_MEDIA_TYPES = {"markdown": "text/markdown", "html": "text/html"}
_CSV = "text/csv"


@get("/api/export/{run_id:str}/csv", media_type=_CSV, operation_id="export_csv")
async def export_csv(run_id: FromPath[str], store: Store) -> Response[Any]:
    """The metrics of a run as CSV: one row per event, in the order of its file, as it is now."""
    directory = store.root / await find_run(store, run_id)
    slices, first, is_all = await asyncio.to_thread(_begin, directory)
    headers = attachment(f"{run_id}_metrics.csv")
    if is_all:
        return Response(first, media_type=_CSV, headers=headers)
    return StreamedResponse(rest(first, slices), media_type=_CSV, headers=headers)


@get("/api/export/{run_id:str}/report", operation_id="export_report", keep_empty=["format"])
async def export_report(run_id: FromPath[str], store: Store, format: FromQuery[str] = "markdown") -> Response[Any]:
    """A report on a run, `markdown` or `html`: what it is, its status, its summary, statistics of its metrics."""
    media_type = _MEDIA_TYPES.get(format)
    if media_type is None:
        raise BadInput("Format must be markdown or html")
    directory = store.root / await find_run(store, run_id)
    content = await asyncio.to_thread(_report, directory, format)
    return Response(content, media_type=media_type, headers=attachment(f"{run_id}_report.{format}"))


def _begin(directory: Path) -> tuple[Iterator[bytes], bytes, bool]:
    run = open_run(directory)
    slices = (piece.encode() for piece in csv_pieces(run.metrics, run.meta))
    first, is_all = next_piece(slices)
    if not first:
        raise NotFound("No metrics to export")
    return slices, first, is_all


def _report(directory: Path, format: str) -> bytes:
    report = build_report(open_run(directory))
    return "".join(html_pieces(report) if format == "html" else markdown_pieces(report)).encode()
