"""Sending files: pages and assets of the server or the front end, and what runs have stored."""

from __future__ import annotations

import asyncio
import mimetypes
import os
import stat
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from litestar.types import Send

from runicorn.server.byte_ranges import PartMissing, is_still, wanted_part
from runicorn.server.errors import ErrorBody
from runicorn.server.etag import matches

_CHUNK = 256 << 10
_TYPES = {  # the tables of the operating system differ, and a wrong type breaks module scripts
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}

Headers = list[tuple[bytes, bytes]]


def find_file(directory: Path, path: str) -> Path | None:
    """The regular file at a URL path below `directory`; None if there is none, or if it is outside of the directory."""
    parts = [part for part in path.split("/") if part]
    if any(part in (".", "..") or "\\" in part or "\0" in part for part in parts):
        return None
    root = os.path.realpath(directory)
    try:
        found = os.path.realpath(os.path.join(root, *parts))
        inside = os.path.commonpath((root, found)) == root
        return Path(found) if inside and stat.S_ISREG(os.stat(found).st_mode) else None
    except (OSError, ValueError):
        return None


async def send_file(scope: Any, send: Send, path: Path, headers: Headers) -> None:
    """Answer a GET or HEAD with a file; see `send_open_file`. OSError if it cannot be opened."""
    with await asyncio.to_thread(open, path, "rb") as file:
        await send_open_file(scope, send, file, [*headers, (b"content-type", content_type(path).encode())])


async def send_open_file(scope: Any, send: Send, file: BinaryIO, headers: Headers, etag: str | None = None) -> None:
    """Answer a GET or HEAD with a file, or the part of it that the client wants (206), or 304 if the client has it.

    416 if it wants a part that the file does not have. Without an `etag`, it follows from the state of the file.
    """
    info = os.fstat(file.fileno())
    request: dict[bytes, bytes] = dict(scope["headers"])
    etag = etag or f'"{info.st_mtime_ns:x}-{info.st_size:x}-{info.st_ino:x}"'
    modified = formatdate(info.st_mtime, usegmt=True)
    headers = [
        *headers,
        (b"etag", etag.encode()),
        (b"last-modified", modified.encode()),
        (b"accept-ranges", b"bytes"),
    ]
    if _is_known(request, etag, int(info.st_mtime)):
        await _start(send, 304, [header for header in headers if header[0] != b"content-type"])
        await _body(send, b"")
        return
    wanted = None
    if scope["method"] == "GET" and is_still(request.get(b"if-range"), etag, modified):
        try:
            wanted = wanted_part(request.get(b"range"), info.st_size)
        except PartMissing:
            await _refuse_part(send, info.st_size)
            return
    first, left = wanted or (0, info.st_size)
    headers.append((b"content-length", b"%d" % left))
    if wanted is not None:
        headers.append((b"content-range", b"bytes %d-%d/%d" % (first, first + left - 1, info.st_size)))
        file.seek(first)
    await _start(send, 200 if wanted is None else 206, headers)
    if scope["method"] == "HEAD" or not left:
        await _body(send, b"")
        return
    while left > 0:
        chunk = await asyncio.to_thread(file.read, min(left, _CHUNK))
        if not chunk:
            raise OSError("the file became shorter while it was sent")
        left -= len(chunk)
        await _body(send, chunk, more=left > 0)


async def _refuse_part(send: Send, size: int) -> None:
    body = msgspec.json.encode(ErrorBody(detail=f"The file has {size} bytes: the requested range is not in it"))
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await _start(send, 416, [*headers, (b"content-range", b"bytes */%d" % size)])
    await _body(send, body)


def content_type(path: Path) -> str:
    """The media type of a file, by its name."""
    return _TYPES.get(path.suffix.lower()) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"


def _is_known(headers: dict[bytes, bytes], etag: str, modified: int) -> bool:
    known = headers.get(b"if-none-match")
    if known is not None:
        return matches(known.decode("latin-1"), etag)
    since = headers.get(b"if-modified-since")
    if since is None:
        return False
    try:
        return parsedate_to_datetime(since.decode("latin-1")).timestamp() >= modified
    except ValueError:
        return False


async def _start(send: Send, status: int, headers: Headers) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})  # type: ignore[typeddict-item]  # no trailers


async def _body(send: Send, content: bytes, *, more: bool = False) -> None:
    await send({"type": "http.response.body", "body": content, "more_body": more})
