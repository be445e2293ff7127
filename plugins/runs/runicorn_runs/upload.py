"""A file that is sent as `multipart/form-data`, written to the disk as it arrives.

The framework's own parser keeps uploads in memory and in the system's temporary directory, without a limit of their size.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, BinaryIO

from litestar import Request
from litestar.exceptions import InternalServerException
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from runicorn.plugin import BadInput, TooLarge, UnusableArchive, check_space

_FIELD = "file"
_WRITE_BYTES = 1 << 20
_MAX_PARTS = 100
_MAX_ENVELOPE = 1 << 20  # of what an upload may have beside the file: other fields, headers
_DRAINED_BYTES = 16 << 20


class MissingFile(BadInput):
    """The request has no file."""

    def __init__(self) -> None:
        super().__init__(f"Missing required field: {_FIELD}")


async def receive_file(request: Request[Any, Any, Any], path: Path, *, limit: int) -> None:
    """Write the file of a request to `path`; it must not exist.

    MissingFile if there is none, TooLarge beyond `limit` bytes, StorageUnavailable if the disk has no room for it.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get("boundary", "")
    if kind != "multipart/form-data" or not boundary:
        raise MissingFile
    body = request.stream()
    try:
        announced = int(request.headers.get("content-length") or 0)
        if announced > limit + _MAX_ENVELOPE:
            raise TooLarge
        await asyncio.to_thread(check_space, path.parent, announced)
        await _receive(body, boundary, path, limit)
    except TooLarge:
        await _drain(body)
        raise
    except InternalServerException as error:  # the client has gone: nobody will read this
        raise UnusableArchive("truncated or damaged") from error


async def _receive(body: AsyncIterator[bytes], boundary: str, path: Path, limit: int) -> None:
    file: BinaryIO | None = None
    is_ours = False
    received = other = 0
    waiting: list[bytes] = []
    size = 0
    try:
        with PushMultipartParser(boundary, max_segment_count=_MAX_PARTS) as parser:
            async for chunk in body:
                if not chunk or parser.closed:
                    continue
                for event in parser.parse(chunk):
                    if isinstance(event, MultipartSegment):
                        is_ours = file is None and event.name == _FIELD and bool(event.filename)
                        if is_ours:
                            file = await asyncio.to_thread(path.open, "xb")
                    elif event and is_ours:
                        received += len(event)
                        waiting.append(bytes(event))
                        size += len(event)
                    elif event:
                        other += len(event)
                if received > limit or other > _MAX_ENVELOPE:
                    raise TooLarge
                if size >= _WRITE_BYTES and file is not None:
                    await asyncio.to_thread(check_space, path.parent, size)
                    await asyncio.to_thread(file.writelines, waiting)
                    waiting, size = [], 0
            if file is not None:
                await asyncio.to_thread(file.writelines, waiting)
    except MultipartError as error:
        raise (MissingFile() if file is None else UnusableArchive("truncated or damaged")) from error
    finally:
        if file is not None:
            await asyncio.to_thread(file.close)
    if file is None:
        raise MissingFile


async def _drain(body: AsyncIterator[bytes]) -> None:
    """Read on for a while: a client that is still sending would not see the answer."""
    left = _DRAINED_BYTES
    async for chunk in body:
        left -= len(chunk)
        if left <= 0:
            return
