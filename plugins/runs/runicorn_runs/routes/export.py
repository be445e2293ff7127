"""`GET /api/export/{run_id}/csv` and `/report`: one run for other programs and for people."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from litestar import Response, get
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIResponse, OpenAPIType, Operation, Schema
from litestar.params import FromPath, FromQuery

from runicorn.plugin import (
    BadInput,
    ExportedRun,
    NotFound,
    Pieces,
    Store,
    attachment,
    build_report,
    csv_pieces,
    find_run,
    html_pieces,
    markdown_pieces,
    open_run,
    run_at,
)
from runicorn_runs import queries

_MEDIA_TYPES = {"markdown": "text/markdown", "html": "text/html"}
_CSV = "text/csv"


@get("/api/export/{run_id:str}/csv", media_type=_CSV, operation_id="export_csv")
async def export_csv(run_id: FromPath[str], store: Store) -> Response[Any]:
    """The metrics of a run as CSV: one row per event, in the order of its file, as it is now."""
    key = await find_run(store, run_id)
    pieces = await asyncio.to_thread(_begin, store.root, key, store.as_of)
    return pieces.response(attachment(f"{run_id}_metrics.csv"))


@dataclass
class _ReportOperation(Operation):
    """How the answer is documented: the framework knows one media type per route."""

    def __post_init__(self) -> None:
        answer = (self.responses or {}).get("200")
        if isinstance(answer, OpenAPIResponse):
            text = OpenAPIMediaType(schema=Schema(type=OpenAPIType.STRING))
            answer.content = {media_type.partition(";")[0]: text for media_type in _MEDIA_TYPES.values()}


@get(
    "/api/export/{run_id:str}/report",
    operation_id="export_report",
    operation_class=_ReportOperation,
    keep_empty=["format"],
)
async def export_report(run_id: FromPath[str], store: Store, format: FromQuery[str] = "markdown") -> Response[Any]:
    """A report on a run, `markdown` or `html`: what it is, its status, its summary, statistics of its metrics."""
    media_type = _MEDIA_TYPES.get(format)
    if media_type is None:
        raise BadInput("Format must be markdown or html")
    key = await find_run(store, run_id)
    run = await asyncio.to_thread(open_run, store.root / key, place=run_at(key), until=store.as_of)
    if store.as_of is not None:  # what the files say is of now
        status, summary = store.model("runs").query(queries.run_state, key)
        run = msgspec.structs.replace(run, status=status, summary=summary or None)
    content = await asyncio.to_thread(_report, run, format)
    return Response(content, media_type=media_type, headers=attachment(f"{run_id}_report.{format}"))


def _begin(root: Path, key: str, until: float | None) -> Pieces:
    run = open_run(root / key, place=run_at(key), until=until)
    pieces = Pieces((piece.encode() for piece in csv_pieces(run.metrics, run.meta)), _CSV)
    if pieces.is_empty:
        raise NotFound("No metrics to export")
    return pieces


def _report(run: ExportedRun, format: str) -> bytes:
    report = build_report(run)
    return "".join(html_pieces(report) if format == "html" else markdown_pieces(report)).encode()
