"""Large answers in pieces, made in threads, so that the event loop is never kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

_PIECE_BYTES = 256 << 10
_BREATH_S = 0.0001  # between slices of a millisecond: lets the event loop have the interpreter
_BREATH_AFTER_BYTES = 32 << 10  # less is made in a fraction of a millisecond, and a sleep costs more than that


def next_piece(slices: Iterator[bytes]) -> tuple[bytes, bool]:
    """About 256 KiB of an answer, and whether that is all. In a thread."""
    found: list[bytes] = []
    size = rested_at = 0
    for data in slices:
        found.append(data)
        size += len(data)
        if size >= _PIECE_BYTES:
            return b"".join(found), False
        if size - rested_at >= _BREATH_AFTER_BYTES:
            time.sleep(_BREATH_S)
            rested_at = size
    return b"".join(found), True


async def rest(first: bytes, slices: Iterator[bytes]) -> AsyncIterator[bytes]:
    """The whole answer in pieces; the first one was made already."""
    yield first
    done = False
    while not done:
        piece, done = await asyncio.to_thread(next_piece, slices)
        yield piece
