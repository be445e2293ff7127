"""How a log is cut into lines, and lines into the blocks that the index knows.

Lines are those of the live log: `\\n`, `\\r\\n` and a lone `\\r` end one, invalid UTF-8 is dropped, and a line longer than
1 MiB is several. Where a line or block begins depends on nothing but the bytes before it, however they were read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

# 64 lines would be verified faster, but their index is half as large again: most trigrams of a log are in every block.
BLOCK_LINES = 256
BLOCK_BYTES = 16 << 10
LINE_BYTES = 1 << 20
"""Longer lines are cut, at a character."""


class Block(NamedTuple):
    """Consecutive lines of a log, by their offsets in the bytes that were cut."""

    start: int
    end: int
    lines: int
    is_closed: bool
    """False for the last block of a file: what is appended may still change it."""


def cut(data: bytes, *, is_end: bool) -> list[Block]:
    """The blocks in `data`, which begins where a block does; with `is_end`, the file ends where `data` does.

    Without it, what may belong to a block that is not complete is left out.
    """
    found: list[Block] = []
    start = end = count = 0
    for line in lines_of(data):
        end += len(line)
        count += 1
        if count == BLOCK_LINES or end - start >= BLOCK_BYTES:
            if end == len(data) and not line.endswith(b"\n"):
                break  # more of this line may follow, or the `\n` of a `\r\n`
            found.append(Block(start, end, count, True))
            start, count = end, 0
    if is_end and start < len(data):
        found.append(Block(start, len(data), count, False))
    return found


def lines_of(data: bytes) -> Iterator[bytes]:
    """The lines in `data` with their terminators; the last one may have none."""
    for line in data.splitlines(keepends=True):
        if len(line) <= LINE_BYTES:
            yield line
        else:
            yield from _pieces(line, len(line.rstrip(b"\r\n")))


def text_of(line: bytes) -> str:
    """A line without its terminator and what is no UTF-8."""
    return line.rstrip(b"\r\n").decode("utf-8", "ignore")


def _pieces(line: bytes, length: int) -> Iterator[bytes]:
    start = 0
    while length - start > LINE_BYTES:
        end = start + LINE_BYTES
        while end > start + LINE_BYTES - 4 and line[end] & 0xC0 == 0x80:
            end -= 1
        yield line[start:end]
        start = end
    yield line[start:]
