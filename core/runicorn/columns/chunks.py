"""How the points of a growing stream are cut into pieces, so that appending stays cheap and reading stays quick.

A series of frames is stored as pieces, each with the number of the row that it begins with:

    sealed chunks of exactly 4096 rows, one blob per column     never written again
    a tail of fewer than 4096 rows: frames of 64 rows and more, then at most 63 rows in smaller frames

An append writes the new rows and, now and then, folds the small frames of the tail into one of 64 rows or more, or the
whole tail into sealed chunks. So a row is written three times at most, and the tail has at most 126 frames. Chunk `i`
holds the rows from `4096 * i`, however the rows arrived.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from runicorn.columns.frame import Frame, concat

CHUNK_ROWS = 4096
"""Rows of a sealed chunk."""
FRAME_ROWS = 64
"""Rows from which a frame of the tail is left alone until the chunk is full."""


class Piece(NamedTuple):
    """A stored part of a series: `rows` rows from row `start` on."""

    start: int
    rows: int

    @property
    def sealed(self) -> bool:
        """Whether this is a full chunk, stored by column and for good."""
        return self.rows == CHUNK_ROWS


class Fold(NamedTuple):
    """What an append does to the tail: `absorbed` pieces are replaced by `written` ones, which hold the new rows, too."""

    absorbed: Sequence[Piece]
    """The last pieces of the tail, in order; often none."""
    written: Sequence[Piece]
    """In order; all but the last are sealed, the last may be."""

    def frames(self, absorbed: Iterable[Frame], new: Frame) -> list[Frame]:
        """The frame of each written piece, from those of the absorbed pieces and the new rows."""
        rows = concat((*absorbed, new))
        if len(self.written) == 1:
            return [rows]
        first = self.written[0].start
        return [rows.slice(piece.start - first, piece.start - first + piece.rows) for piece in self.written]


def plan_fold(tail: Sequence[Piece], start: int, rows: int) -> Fold:
    """How to append `rows` new rows (at least one) behind row `start`, where the series ends so far.

    `tail` has the pieces that are not sealed, in order. Deterministic.
    """
    if rows < 1 or (tail and tail[-1].start + tail[-1].rows != start):
        raise ValueError("an append begins where the series ends, and has rows")
    absorbed = _absorbed(tail, rows)
    first = absorbed[0].start if absorbed else start
    end = start + rows
    written: list[Piece] = []
    while first < end:
        written.append(Piece(first, min(CHUNK_ROWS, end - first)))
        first += CHUNK_ROWS
    return Fold(absorbed, written)


def _absorbed(tail: Sequence[Piece], rows: int) -> Sequence[Piece]:
    if sum(piece.rows for piece in tail) + rows >= CHUNK_ROWS:
        return tail
    small = len(tail)
    while small and tail[small - 1].rows < FRAME_ROWS:
        small -= 1
        rows += tail[small].rows
    return tail[small:] if rows >= FRAME_ROWS else ()
