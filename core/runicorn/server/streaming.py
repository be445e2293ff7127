"""Long answers, encoded in slices in threads while they are sent: the event loop never waits, memory stays small."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from litestar.response import Response

_PIECE_BYTES = 256 << 10
_BREATH_S = 0.0001  # between slices of a millisecond: lets the event loop have the interpreter
_BREATH_AFTER_BYTES = 32 << 10  # less is encoded in a fraction of a millisecond, and a sleep costs more than that


class Pieces:
    """The beginning of an answer whose rest is encoded when it is sent. Make it in a thread."""

    def __init__(self, slices: Iterator[bytes], media_type: str = "application/json") -> None:
        self._slices = slices
        self._media_type = media_type
        self._first, self._is_all = self._next()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to send."""
        return self._is_all and not self._first

    def response(self, headers: Mapping[str, str] | None = None) -> Response[Any]:
        """The response: at once if its first piece is all of it, else streamed."""
        from litestar.response import Response, Stream  # plugins import this module on the command line, too

        if self._is_all:
            return Response(self._first, media_type=self._media_type, headers=headers)
        return Stream(self._pieces(), media_type=self._media_type, headers=headers)

    async def _pieces(self) -> AsyncIterator[bytes]:
        yield self._first
        done = False
        while not done:
            piece, done = await asyncio.to_thread(self._next)
            yield piece

    def _next(self) -> tuple[bytes, bool]:
        """About 256 KiB, and whether that is all."""
        found: list[bytes] = []
        size = rested_at = 0
        for data in self._slices:
            found.append(data)
            size += len(data)
            if size >= _PIECE_BYTES:
                return b"".join(found), False
            if size - rested_at >= _BREATH_AFTER_BYTES:
                time.sleep(_BREATH_S)
                rested_at = size
        return b"".join(found), True
