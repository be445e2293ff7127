"""When pieces of a growing series are folded. That no cutting changes the content is a property: tests/properties."""

from __future__ import annotations

import pytest

from runicorn.columns import Piece, plan_fold


def appended(*batches: int) -> list[Piece]:
    """The pieces of a series after these appends."""
    pieces: list[Piece] = []
    end = 0
    for rows in batches:
        tail = [piece for piece in pieces if not piece.sealed]
        fold = plan_fold(tail, end, rows)
        pieces = pieces[: len(pieces) - len(fold.absorbed)] + list(fold.written)
        end += rows
    return pieces


def test_single_rows_are_folded_by_eights() -> None:
    assert [piece.rows for piece in appended(*[1] * 7)] == [1] * 7
    assert [piece.rows for piece in appended(*[1] * 8)] == [8]
    assert [piece.rows for piece in appended(*[1] * 77)] == [64, 8, 1, 1, 1, 1, 1]


def test_a_full_chunk_is_sealed_and_never_absorbed_again() -> None:
    assert appended(*[1] * 4096) == [Piece(0, 4096)]
    assert appended(4096, 1, 4096) == [Piece(0, 4096), Piece(4096, 4096), Piece(8192, 1)]


def test_chunks_begin_at_multiples_of_their_size_however_rows_arrive() -> None:
    assert appended(3000, 3000, 10_000) == [Piece(4096 * i, 4096) for i in range(3)] + [Piece(12288, 3712)]


def test_a_large_batch_takes_the_small_pieces_before_it() -> None:
    assert appended(600, 100, 3, 200) == [Piece(0, 600), Piece(600, 100), Piece(700, 203)]


def test_an_append_that_leaves_a_gap_is_an_error() -> None:
    with pytest.raises(ValueError, match="series ends"):
        plan_fold([Piece(0, 10)], 11, 1)
    with pytest.raises(ValueError, match="has rows"):
        plan_fold([], 0, 0)
