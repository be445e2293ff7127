"""`GET /api/artifacts/{name}/v{version}/files/{path}` and `/zip`: what a version consists of."""

from __future__ import annotations

import asyncio
from typing import Any, BinaryIO

from litestar import Response, get
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, FromQuery

from runicorn.plugin import Pieces, Serving, Store, attachment, file_response, inert_headers, inert_media_type
from runicorn_artifacts.folder import ArtifactFolder
from runicorn_artifacts.manifest import FileEntry
from runicorn_artifacts.routes.elsewhere import elsewhere
from runicorn_artifacts.routes.resolving import find_version, folder_of
from runicorn_artifacts.serving import KnownFiles, check_all, entries_of, find_entry, open_entry
from runicorn_artifacts.zipped import zip_pieces

_ZIP = "application/zip"


@get(
    "/api/artifacts/{name:str}/{version:str}/files/{path:path}",
    operation_id="artifact_file",
    responses={
        200: ResponseSpec(bytes, False, "The file.", "application/octet-stream"),
        206: ResponseSpec(bytes, False, "The part of it that `Range` asks for.", "application/octet-stream"),
        304: ResponseSpec(None, False, "The client has it already."),
        416: ResponseSpec(None, False, "The file ends before that part."),
    },
)
async def artifact_file(
    name: FromPath[str],
    version: FromPath[str],
    path: FromPath[str],
    store: Store,
    serving: Serving,
    type: FromQuery[str | None] = None,
) -> Response[bytes]:
    """A file that the manifest lists; its ETag is its SHA-256. Parts can be asked for.

    What is damaged is refused (409), or breaks off before its end. Only images, audio, video and text open in a browser.
    """
    other = elsewhere(serving)
    if other is not None:
        raise await asyncio.to_thread(other.without_contents, name, version, type)
    artifact, row = await find_version(store, name, version, type)
    folder = folder_of(store.root, artifact)
    known = store.own(KnownFiles)
    entry, file = await asyncio.to_thread(_open, folder, row.version, path.removeprefix("/"), known)
    return file_response(file, inert_media_type(entry.path), inert_headers(entry.path), etag=f'"sha256:{entry.sha256}"')


@get(
    "/api/artifacts/{name:str}/{version:str}/zip",
    operation_id="artifact_zip",
    media_type=_ZIP,
)
async def artifact_zip(
    name: FromPath[str],
    version: FromPath[str],
    store: Store,
    serving: Serving,
    type: FromQuery[str | None] = None,
    deflate: FromQuery[bool] = False,
) -> Response[Any]:
    """All files of a version in a zip file, stored as they are or deflated. It breaks off at a damaged file."""
    other = elsewhere(serving)
    if other is not None:
        raise await asyncio.to_thread(other.without_contents, name, version, type)
    artifact, row = await find_version(store, name, version, type)
    folder = folder_of(store.root, artifact)
    pieces = await asyncio.to_thread(_zip, folder, row.version, store.own(KnownFiles), deflate)
    return pieces.response(attachment(f"{artifact.name}_v{row.version}.zip"))


def _open(folder: ArtifactFolder, version: int, path: str, known: KnownFiles) -> tuple[FileEntry, BinaryIO]:
    entry = find_entry(folder, version, path)
    return entry, open_entry(folder, version, entry, known)


def _zip(folder: ArtifactFolder, version: int, known: KnownFiles, deflate: bool) -> Pieces:
    entries = list({entry.path: entry for entry in entries_of(folder, version)}.values())
    check_all(folder, version, entries)
    return Pieces(zip_pieces(entries, lambda entry: open_entry(folder, version, entry, known), deflate=deflate), _ZIP)
