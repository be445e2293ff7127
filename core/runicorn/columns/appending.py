"""A series that is put together in memory: for a process that decodes and encodes what another one writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from runicorn.columns.chunks import CHUNK_ROWS, Piece
from runicorn.columns.codec import SplitFrame, encode_frame
from runicorn.columns.frame import Frame
from runicorn.columns.series import PUT_FRAME, Chunk, StoredSeries


class SeriesPart(msgspec.Struct, array_like=True):
    """Encoded rows of a series, to be written as they are. Parts of one series are written in order."""

    chunks: list[tuple[Chunk, SplitFrame]] = []
    pages: list[tuple[int, int, int, bytes]] = []
    """Level, first row, number of chunks, frame."""
    tail: list[tuple[int, int, bytes]] = []
    """First row, number of rows, frame."""

    def write(self, series: StoredSeries, later: Callable[[str, Sequence[Any]], None]) -> None:
        """Write everything to a series that has the earlier parts; what nobody reads before the commit by `later`."""
        for chunk, split in self.chunks:
            series.seal(chunk, split)
        for level, start, chunks, frame in self.pages:
            series.put_level_bytes(level, start, chunks, frame)
        for start, rows, frame in self.tail:
            later(PUT_FRAME, series.frame_row(start, rows, frame))


class SeriesInMemory:
    """Takes a whole series, from its first event on; what is finished is taken away by `take`.

    What it writes in all is what appending the same frames to a `StoredSeries` leaves there.
    """

    def __init__(self) -> None:
        self._tail: dict[int, Frame] = {}
        self._end = 0
        self._levels: dict[tuple[int, int], tuple[int, Frame]] = {}
        self._chunks: list[tuple[Chunk, SplitFrame]] = []
        self._pages: list[tuple[int, int, int, bytes]] = []

    def take(self, *, is_end: bool) -> SeriesPart:
        """What can be written so far; with `is_end` all the rest."""
        part = SeriesPart(self._chunks, self._pages)
        self._chunks, self._pages = [], []
        if is_end:
            for (level, start), (chunks, frame) in sorted(self._levels.items(), key=_first):
                part.pages.append((level, start, chunks, encode_frame(frame)))
            part.tail = [
                (start, frame.rows, encode_frame(frame)) for start, frame in sorted(self._tail.items(), key=_first)
            ]
        return part

    def tail(self) -> tuple[Sequence[Piece], int]:
        return [Piece(start, frame.rows) for start, frame in sorted(self._tail.items(), key=_first)], self._end

    def read(self, start: int) -> Frame:
        return self._tail[start]

    def drop(self, start: int) -> None:
        del self._tail[start]

    def put(self, start: int, frame: Frame) -> None:
        self._tail[start] = frame
        self._end = start + frame.rows

    def seal(self, chunk: Chunk, split: SplitFrame) -> None:
        self._tail.pop(chunk.start, None)
        self._chunks.append((chunk, split))
        self._end = chunk.start + CHUNK_ROWS

    def level_frame(self, level: int, start: int) -> Frame | None:
        found = self._levels.get((level, start))
        return None if found is None else found[1]

    def drop_level(self, level: int, start: int) -> None:
        del self._levels[level, start]

    def put_level(self, level: int, start: int, chunks: int, frame: Frame) -> None:
        if chunks == 1:
            self._levels[level, start] = chunks, frame
        else:
            self._pages.append((level, start, chunks, encode_frame(frame)))


def _first(item: tuple[Any, Any]) -> Any:
    return item[0]
