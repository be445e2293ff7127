"""Sending files: pages and assets that belong to the server or the front end."""

from __future__ import annotations

import asyncio
import mimetypes
import os
import stat
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path
from typing import Any

from litestar.types import Send

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
    """Answer a GET or HEAD with a file, or with 304 if the client has it. OSError if it cannot be opened."""
    with await asyncio.to_thread(open, path, "rb") as file:
        info = os.fstat(file.fileno())
        etag = f'"{info.st_mtime_ns:x}-{info.st_size:x}"'
        modified = formatdate(info.st_mtime, usegmt=True)
        headers = [*headers, (b"etag", etag.encode()), (b"last-modified", modified.encode())]
        if _is_known(dict(scope["headers"]), etag, int(info.st_mtime)):
            await _start(send, 304, headers)
            await _body(send, b"")
            return
        headers += [(b"content-type", content_type(path).encode()), (b"content-length", b"%d" % info.st_size)]
        await _start(send, 200, headers)
        left = 0 if scope["method"] == "HEAD" else info.st_size
        while left > 0:
            chunk = await asyncio.to_thread(file.read, min(left, _CHUNK))
            if not chunk:
                raise OSError("the file became shorter while it was sent")
            left -= len(chunk)
            await _body(send, chunk, more=left > 0)
        if info.st_size == 0 or scope["method"] == "HEAD":
            await _body(send, b"")


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
    await send({"type": "http.response.start", "status": status, "headers": headers})  # type: ignore[typeddict-item]


async def _body(send: Send, content: bytes, *, more: bool = False) -> None:
    await send({"type": "http.response.body", "body": content, "more_body": more})
