"""`GET /api/runs/{run_id}/media` and `/media/{path}`: the images that a run has logged."""

from __future__ import annotations

import asyncio
from pathlib import PurePosixPath
from typing import Annotated, Any
from urllib.parse import quote

import apsw
import msgspec
from litestar import Request, Response, get
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, FromQuery, QueryParameter

from runicorn.plugin import (
    MEDIA_DIRECTORY,
    Store,
    Stream,
    conditional,
    file_response,
    find_run,
    inert_headers,
    inert_media_type,
    number,
    strong_etag,
)
from runicorn_runs.media_files import media_names, open_media

_MAX_IMAGES = 10_000
_PREFIX = f"{MEDIA_DIRECTORY}/"


class LoggedImage(msgspec.Struct, frozen=True, kw_only=True):
    """One image, as it was logged."""

    key: str
    step: int | None
    caption: str | None
    ts: float | None
    """Unix seconds."""
    path: str
    """Below the run directory."""
    url: str | None
    """Where it is served; null if it lies outside of `media/`."""
    media_type: str


class LoggedImages(msgspec.Struct, frozen=True):
    """Images in the order in which they were logged. `total` counts those on other pages, too."""

    images: list[LoggedImage]
    total: int


@get("/api/runs/{run_id:str}/media", operation_id="list_media")
async def list_media(
    run_id: FromPath[str],
    request: Request[Any, Any, Any],
    store: Store,
    key: FromQuery[str | None] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=_MAX_IMAGES)] = 1000,
    offset: Annotated[int, QueryParameter(ge=0, lt=1 << 62)] = 0,
) -> Response[LoggedImages]:
    """The images that a run has logged, or those of one `key`; what was logged before this request is in the answer."""
    stream = Stream("run", await find_run(store, run_id))
    await store.catch_up("runs", stream)
    model = store.model("runs")
    known = model.checkpoint(stream)
    version = (0, 0) if known is None else (known.offset, known.inode)

    def answer() -> Any:
        return model.run(_images, stream.name, run_id, key, limit, offset)

    return await conditional(request, strong_etag(model.counter("runs")[0], *version), answer)


@get(
    "/api/runs/{run_id:str}/media/{path:path}",
    operation_id="media_file",
    responses={
        200: ResponseSpec(bytes, False, "The file.", "application/octet-stream"),
        206: ResponseSpec(bytes, False, "The part of it that `Range` asks for.", "application/octet-stream"),
        304: ResponseSpec(None, False, "The client has it already."),
        416: ResponseSpec(None, False, "The file ends before that part."),
    },
)
async def media_file(run_id: FromPath[str], path: FromPath[str], store: Store) -> Response[bytes]:
    """A file below `media/` of a run. Parts can be asked for. Only images, audio, video and text open in a browser."""
    key = await find_run(store, run_id)
    path = path.lstrip("/")
    await store.bring(key, f"{_PREFIX}{path}")
    file = await asyncio.to_thread(open_media, store.root / key, path)
    return file_response(file, inert_media_type(path), inert_headers(path))


def _images(db: apsw.Connection, stream: str, run_id: str, key: str | None, limit: int, offset: int) -> LoggedImages:
    source = "FROM run_image JOIN stream ON stream.id = stream_id WHERE stream.name = ?1 AND (?2 IS NULL OR key = ?2)"
    total = db.execute(f"SELECT count(*) {source}", (stream, key)).fetchall()[0][0]
    rows = db.execute(
        f"SELECT key, path, step, caption, ts {source} ORDER BY run_image.offset LIMIT ?3 OFFSET ?4",
        (stream, key, limit, offset),
    )
    images = [
        LoggedImage(
            key=str(name),
            step=step,  # type: ignore[arg-type]  # the column's type
            caption=None if caption is None else str(caption),
            ts=number(ts),
            path=str(path),
            url=_url(run_id, str(path)),
            media_type=inert_media_type(str(path)),
        )
        for name, path, step, caption, ts in rows
    ]
    return LoggedImages(images, int(total))  # type: ignore[arg-type]  # a count


def _url(run_id: str, path: str) -> str | None:
    below = str(PurePosixPath(path.replace("\\", "/")))
    if not below.startswith(_PREFIX) or not media_names(below.removeprefix(_PREFIX)):
        return None
    return f"/api/runs/{quote(run_id, safe='')}/media/{quote(below.removeprefix(_PREFIX))}"
