"""Cutting bytes into frames."""

from __future__ import annotations

import pytest

from runicorn_runs.logs.lines import PIECE_BYTES, LineSplitter


def test_newline_carriage_return_and_both_end_a_line() -> None:
    assert LineSplitter().feed(b"one\ntwo\r\nthree\rfour\n") == ["one", "two", "three", "four"]


@pytest.mark.parametrize("character", ["\f", "\v", "\u2028", "\x85", "\x1c"])
def test_nothing_else_ends_a_line(character: str) -> None:
    assert LineSplitter().feed(f"one{character}two\n".encode()) == [f"one{character}two"]


def test_progress_bar_updates_are_lines() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"\r 10%|#") == []
    assert splitter.feed(b"\r 20%|##") == [" 10%|#"]
    assert splitter.feed(b"\r 30%|###") == [" 20%|##"]


def test_a_carriage_return_and_its_newline_in_different_reads_end_one_line() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"one\r") + splitter.feed(b"\ntwo\r\n") == ["one", "two"]


def test_blank_lines_are_not_sent() -> None:
    assert LineSplitter().feed("\n \n\t\r\n\u3000\n\xa0\none\n\n".encode()) == ["one"]


def test_white_space_around_the_text_stays() -> None:
    assert LineSplitter().feed(b"\t  one \t \n") == ["\t  one \t "]


def test_invalid_utf8_is_dropped_and_nul_passes() -> None:
    assert LineSplitter().feed(b"a\xffb\x80c\0d\n\xff\xfe\n") == ["abc\0d"]


def test_a_character_split_between_reads_arrives_whole() -> None:
    splitter = LineSplitter()
    assert [frame for byte in "loss 損失 🦄\n".encode() for frame in splitter.feed(bytes([byte]))] == ["loss 損失 🦄"]


def test_an_unterminated_line_is_held_back_until_it_is_flushed() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"half") == []
    assert splitter.holds_text
    assert splitter.flush() == ["half"]
    assert not splitter.holds_text


def test_what_follows_a_flush_is_a_new_frame() -> None:
    splitter = LineSplitter()
    splitter.feed(b"half")
    splitter.flush()
    assert splitter.feed(b" and half\nnext\n") == [" and half", "next"]


def test_the_terminator_after_a_flush_sends_nothing() -> None:
    splitter = LineSplitter()
    splitter.feed(b"whole")
    splitter.flush()
    assert splitter.feed(b"\r\n") == []


def test_a_flush_does_not_split_a_character() -> None:
    splitter = LineSplitter()
    splitter.feed("損失".encode()[:-1])
    assert splitter.flush() == ["損"]
    assert splitter.feed("失".encode()[-1:] + b"\n") == ["失"]


def test_flushed_white_space_stays_in_front_of_its_line() -> None:
    splitter = LineSplitter()
    splitter.feed(b"    ")
    assert splitter.flush() == []
    assert splitter.feed(b"indented\n") == ["    indented"]


def test_closing_forgets_an_incomplete_character() -> None:
    splitter = LineSplitter()
    splitter.feed(b"end\xe6\x90")
    assert splitter.close() == ["end"]
    assert splitter.feed(b"\x8dnext\n") == ["next"]


def test_a_long_line_is_sent_in_pieces() -> None:
    frames = LineSplitter().feed(b"x" * (2 * PIECE_BYTES + 5) + b"\n")
    assert [len(frame) for frame in frames] == [PIECE_BYTES, PIECE_BYTES, 5]


def test_a_line_of_exactly_one_piece_is_one_frame() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"x" * PIECE_BYTES) == []
    assert splitter.feed(b"\nnext\n") == ["x" * PIECE_BYTES, "next"]


def test_a_long_line_without_an_end_is_sent_while_it_grows() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"x" * (PIECE_BYTES + 1)) == ["x" * PIECE_BYTES]
    assert splitter.flush() == ["x"]
