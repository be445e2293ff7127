"""Where the last lines of a log begin, found from its end: a log of many gigabytes costs as much as its last lines."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from runicorn_runs.logs.file import LogFile
from runicorn_runs.logs.lines import is_blank

_CHUNK_BYTES = 1 << 18
_RUN = re.compile(rb"[^\r\n]+")
_CHARACTER_BYTES = 4

SEARCH_BYTES = 256 << 20
"""How far back lines are searched: bounds the time for a file of endless lines. Enough for 10 000 lines of 26 kB each."""


class Tail(msgspec.Struct, frozen=True):
    """Read from `offset` to get the last lines, and an unterminated line after them."""

    offset: int
    older: bool
    """Whether lines before `offset` were left out."""


def find_tail(file: LogFile, lines: int, *, chunk_bytes: int = _CHUNK_BYTES, search_bytes: int = SEARCH_BYTES) -> Tail:
    """Where the last `lines` complete non-blank lines of `file` begin. OSError as it comes.

    Time is linear in the bytes looked at, memory constant, also for lines of any length.
    """
    size = file.stat().st_size
    floor = max(0, size - search_bytes)
    offset, kept = size, 0
    for line in _lines_backwards(file, floor, size, chunk_bytes):
        if not line.terminated:
            offset = line.start
        elif line.has_text:
            if kept == lines:
                return Tail(offset, older=True)
            offset, kept = line.start, kept + 1
    return Tail(offset, older=floor > 0)


class _Line(msgspec.Struct, frozen=True):
    start: int
    terminated: bool
    has_text: bool
    head: bytes
    """The first bytes: they may be the rest of a character that begins in front of the chunk."""


def _lines_backwards(file: LogFile, floor: int, size: int, chunk_bytes: int) -> Iterator[_Line]:
    """The non-empty lines between two offsets, last one first."""
    line: _Line | None = None  # reaches the start of the chunk that was read last, and maybe beyond
    end = size
    while end > floor:
        begin = max(floor, end - chunk_bytes)
        chunk = file.read(begin, end - begin)
        runs = list(_RUN.finditer(chunk))
        if line is not None and not (runs and runs[-1].end() == len(chunk)):
            yield line
            line = None
        for run in reversed(runs):
            text = run.group()
            if line is None:
                line = _Line(begin + run.start(), begin + run.end() < size, _has_text(text), text[:_CHARACTER_BYTES])
            else:
                joined = text + line.head
                has_text = line.has_text or _has_text(joined)
                line = _Line(begin + run.start(), line.terminated, has_text, joined[:_CHARACTER_BYTES])
            if run.start() > 0:
                yield line
                line = None
        end = begin
    if line is not None:
        yield line


def _has_text(line: bytes) -> bool:
    return not is_blank(line.decode("utf-8", "ignore"))
