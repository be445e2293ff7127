"""Lines of logs that hold a text, newest log first and in each log the last line first, from the index and the files.

Every hit was read from its file just now; the index only says where to look. A search that has looked for long enough
stops and says where to go on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import apsw
import msgspec

from runicorn.plugin import LOGS_FILE, open_to_read
from runicorn_query.search.blocks import lines_of, text_of
from runicorn_query.search.clock import Clock
from runicorn_query.search.index_file import BLOCK_BITS
from runicorn_query.search.needle import Needle

_MOST_S = 0.5
_MOST_READ_BYTES = 256 << 20

FIRST = (10**18 - 1, 0)
"""The place where a search begins: behind all blocks."""

_BEHIND_ALL = 10**9 - 1  # lines of a block


class LineHit(NamedTuple):
    """A line with the text in it."""

    key: str
    text: str
    line: int
    """Counted from 1."""
    offset: int
    """Where it begins in the file, in bytes."""
    clock: Clock
    first: str | None
    """The first time in its log."""
    place: tuple[int, int]
    """Where a search for the hits behind this one begins."""


class Found(msgspec.Struct):
    """What a search came across."""

    hits: list[LineHit] = []
    next: tuple[int, int] | None = None
    """Where to go on; None at the end."""
    is_truncated: bool = False
    """Whether it stopped because it had looked for long enough."""


class _Log(NamedTuple):
    """A log that is wanted, opened."""

    key: str
    first: str | None
    file: BinaryIO


class LogSearch:
    """One search. `is_wanted(key)` is asked once for every run with candidates."""

    def __init__(self, db: apsw.Connection, root: Path, needle: Needle, is_wanted: Callable[[str], bool]) -> None:
        self._db = db
        self._root = root
        self._needle = needle
        self._is_wanted = is_wanted
        self._opened: dict[int, _Log | None] = {}
        self._read_bytes = 0

    def find(self, limit: int, start: tuple[int, int] = FIRST, *, only: str | None = None) -> Found:
        """At most `limit` hits from the place `start`; `only` in the log of one run."""
        found = Found()
        deadline = time.monotonic() + _MOST_S
        low, high = self._bounds(only)
        candidates = self._needle.candidates(self._db, low, min(high, start[0] + 1))
        is_first = True
        try:
            for block_id in candidates:
                # Asked in between, not before the first: whoever goes on where this stops gets a step further.
                if not is_first and (time.monotonic() > deadline or self._read_bytes > _MOST_READ_BYTES):
                    found.next, found.is_truncated = (block_id, _BEHIND_ALL), True
                    return found
                is_first = False
                behind = start[1] if block_id == start[0] else _BEHIND_ALL
                for hit in self._hits_in(block_id, behind):
                    if len(found.hits) == limit:
                        found.next = found.hits[-1].place
                        return found
                    found.hits.append(hit)
            return found
        finally:
            self._close()

    def _bounds(self, only: str | None) -> tuple[int, int]:
        if only is None:
            return 0, FIRST[0]
        rows = self._db.execute("SELECT id FROM file WHERE key = ?", (only,)).fetchall()
        file_id = cast(int, rows[0][0]) if rows else 0
        return file_id << BLOCK_BITS, (file_id + 1) << BLOCK_BITS

    def _hits_in(self, block_id: int, behind: int) -> Iterator[LineHit]:
        """The hits in a block before its line `behind`, the last one first."""
        log = self._log(block_id >> BLOCK_BITS)
        if log is None:
            return
        rows = self._db.execute("SELECT start, end, line, day, clock FROM block WHERE id = ?", (block_id,)).fetchall()
        if not rows:
            return
        start, end, first_line, day, at = cast("tuple[int, int, int, int, str | None]", rows[0])
        try:
            data = os.pread(log.file.fileno(), end - start, start)
        except OSError:
            return
        self._read_bytes += len(data)
        if not self._needle.is_in(data):
            return
        lines = list(lines_of(data))
        ends = _ends(lines)
        for number in range(min(len(lines), behind) - 1, -1, -1):
            if self._needle.is_in(lines[number]):
                text = text_of(lines[number])
                if self._needle.places(text):
                    clock = Clock(day, at).after(data[: ends[number]])
                    offset = ends[number] - len(lines[number])
                    place = (block_id, number)
                    yield LineHit(log.key, text, first_line + number + 1, start + offset, clock, log.first, place)

    def _log(self, file_id: int) -> _Log | None:
        """The opened log; None if it is not wanted, or not the file any more that was indexed."""
        if file_id not in self._opened:
            self._close()  # candidates come log by log
            self._opened[file_id] = self._open(file_id)
        return self._opened[file_id]

    def _open(self, file_id: int) -> _Log | None:
        rows = self._db.execute("SELECT key, inode, first FROM file WHERE id = ?", (file_id,)).fetchall()
        if not rows:
            return None
        key, inode, first = cast("tuple[str, int, str | None]", rows[0])
        if not self._is_wanted(key):
            return None
        try:
            file = open_to_read(self._root / key / LOGS_FILE)
        except OSError:
            return None
        if os.fstat(file.fileno()).st_ino != inode:
            file.close()
            return None
        return _Log(key, first, file)

    def _close(self) -> None:
        for log in self._opened.values():
            if log is not None:
                log.file.close()
        self._opened = {}


def _ends(lines: list[bytes]) -> list[int]:
    ends: list[int] = []
    end = 0
    for line in lines:
        end += len(line)
        ends.append(end)
    return ends
