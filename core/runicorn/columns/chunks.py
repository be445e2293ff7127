"""How the points of a growing stream are cut into pieces, so that appending stays cheap and reading stays quick.

A series of frames is stored as pieces, each with the number of the row that it begins with:

    sealed chunks of exactly 4096 rows, one blob per column           never written again
    a tail of fewer than 4096 rows, one blob per piece                at most 28 pieces, the larger ones first

An append writes the new rows as a piece of their own, or together with the last pieces of the tail once all of these reach
8, 64, 512 or 4096 rows. So a row is written five times at most. Chunk `i` holds the rows from `4096 * i`, however the rows
arrived. (Without the steps of 8 and 512 the tail had 126 pieces and took six times as long to read.)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from runicorn.columns.frame import Frame, concat

CHUNK_ROWS = 4096
"""Rows of a sealed chunk."""
_FOLD_AT = (CHUNK_ROWS, 512, 64, 8)


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
    """The last pieces that with `rows` more reach the largest size that can be reached; each of them is below it."""
    for size in _FOLD_AT:
        first, total = len(tail), rows
        while first and tail[first - 1].rows < size:
            first -= 1
            total += tail[first].rows
        if total >= size:
            return tail[first:]
    return ()
