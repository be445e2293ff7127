"""The body of a request, written to the disk as it arrives: memory does not grow with what is sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from litestar import Request
from litestar.exceptions import InternalServerException

from runicorn.plugin import RunicornError

_WRITE_BYTES = 1 << 20
_DRAINED_BYTES = 16 << 20

Write = Callable[[Sequence[bytes]], None]


class SenderGone(RunicornError):
    """The client has broken off; nobody will read this."""

    status = 400

    def __init__(self) -> None:
        super().__init__("The request ended before its end")


def announced_bytes(request: Request[Any, Any, Any]) -> int:
    """The length of the body, as far as the client says; 0 if it does not."""
    text = request.headers.get("content-length") or ""
    return int(text) if text.isascii() and text.isdigit() else 0


async def write_body(body: AsyncIterator[bytes], write: Write) -> None:
    """Hand the body over in pieces of about a megabyte, each in a thread. SenderGone if it breaks off, after the last one."""
    waiting: list[bytes] = []
    size = 0
    gone: InternalServerException | None = None
    try:
        async for chunk in body:
            waiting.append(chunk)
            size += len(chunk)
            if size >= _WRITE_BYTES:
                await asyncio.to_thread(write, waiting)
                waiting, size = [], 0
    except InternalServerException as error:  # what has come counts: the client may continue behind it
        gone = error
    if size:
        await asyncio.to_thread(write, waiting)
    if gone is not None:
        raise SenderGone from gone


@asynccontextmanager
async def body_of(request: Request[Any, Any, Any]) -> AsyncGenerator[AsyncIterator[bytes]]:
    """The body; after an error for the client it is read on for a while, so that the client sees the answer."""
    body = request.stream()
    try:
        yield body
    except SenderGone:
        raise
    except RunicornError:
        await drain(body)
        raise


async def drain(body: AsyncIterator[bytes]) -> None:
    """Read on for a while: a client that is still sending would not see the answer."""
    left = _DRAINED_BYTES
    try:
        async for chunk in body:
            left -= len(chunk)
            if left <= 0:
                return
    except InternalServerException:
        return
