"""Finding the last lines of a log from its end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runicorn_runs.logs.file import LogFile
from runicorn_runs.logs.tail import Tail, find_tail


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "logs.txt"


def _tail(log: Path, lines: int = 10_000) -> tuple[list[str], bool]:
    tail = find_tail(LogFile(log), lines)
    return log.read_bytes()[tail.offset :].decode().splitlines(), tail.older


@pytest.mark.parametrize(("written", "older"), [(9_999, False), (10_000, False), (10_001, True), (25_000, True)])
def test_older_lines_are_left_out(log: Path, written: int, older: bool) -> None:
    lines = [f"12:00:00 | step {number}" for number in range(written)]
    log.write_text("\n".join(lines) + "\n")
    assert _tail(log) == (lines[-10_000:], older)


def test_blank_lines_do_not_count(log: Path) -> None:
    log.write_text("one\n\n\ntwo\n   \n\nthree\n\n\n")
    assert _tail(log, 3)[1] is False
    assert _tail(log, 2) == (["two", "   ", "", "three", "", ""], True)


@pytest.mark.parametrize("chunk_bytes", range(1, 12))
@pytest.mark.parametrize("line", ["é", "損", "🦄", " 🦄 "])
def test_a_line_of_one_character_counts_wherever_it_is_cut(log: Path, line: str, chunk_bytes: int) -> None:
    log.write_text(f"older\n{line}\nlast\n")
    assert find_tail(LogFile(log), 2, chunk_bytes=chunk_bytes) == Tail(len("older\n"), older=True)


def test_an_unterminated_line_comes_on_top(log: Path) -> None:
    log.write_text("one\ntwo\nunfinished")
    assert _tail(log, 2) == (["one", "two", "unfinished"], False)
    assert _tail(log, 1) == (["two", "unfinished"], True)


def test_an_empty_file_has_no_lines(log: Path) -> None:
    log.touch()
    assert find_tail(LogFile(log), 10) == Tail(0, older=False)


def test_a_huge_file_is_not_read(log: Path) -> None:
    with log.open("wb") as file:
        file.seek(64 << 30)  # sparse: reading it would take minutes
        file.write(b"\n" + b"".join(b"line %d\n" % number for number in range(20_000)))
    tail = find_tail(LogFile(log), 10_000)
    assert tail.older
    with log.open("rb") as file:
        file.seek(tail.offset)
        assert file.read() == b"".join(b"line %d\n" % number for number in range(10_000, 20_000))


def test_a_line_without_end_is_searched_for_a_bounded_way(log: Path) -> None:
    with log.open("wb") as file:
        file.seek(64 << 30)
        file.write(b"text\nlast\n")
    size = os.path.getsize(log)
    tail = find_tail(LogFile(log), 10, search_bytes=1 << 20)
    assert tail == Tail(size - (1 << 20), older=True)


def test_a_file_that_shrinks_while_it_is_searched_does_no_harm(log: Path) -> None:
    log.write_bytes(b"line\n" * 1000)
    file = LogFile(log)

    class Shrinking(LogFile):
        def read(self, offset: int, length: int) -> bytes:
            os.truncate(log, 100)
            return super().read(offset, length)

    assert find_tail(file, 10).older
    assert find_tail(Shrinking(log), 10, chunk_bytes=64).offset <= 5000
