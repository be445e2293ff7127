"""Writes the index of logs: reads what is new in each file, forgets what is no longer there, and keeps it within its size.

One transaction per slice of a file holds its blocks, their trigrams and how far it was read, so being killed costs a slice.
The last block of a file is replaced when the file grows; all other blocks are written once.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from stat import S_ISREG

import msgspec

from runicorn.plugin import LOGS_FILE, RootPresence, find_runs, open_to_read
from runicorn_query.index_database import transaction
from runicorn_query.search.blocks import cut
from runicorn_query.search.clock import Clock, times_in
from runicorn_query.search.index_file import (
    BLOCK_BITS,
    MAX_BLOCKS,
    IndexState,
    open_to_write,
    state_of,
)
from runicorn_query.search.needle import indexed_text
from runicorn_query.search.settings import Settings

logger = logging.getLogger("runicorn.query")

_SLICE_BYTES = 2 << 20
_MARK_BYTES = 64  # of the head and the seam, by which a rewritten file is noticed
_INDEX_PER_LOG = 0.35  # usual logs need less
_MERGE_PAGES = 500
_ACTIVE_S = 600.0


class Log(msgspec.Struct):
    """A row of the table `file`."""

    id: int
    key: str
    inode: int = 0
    size: int = 0
    modified: int = 0
    head: bytes = b""
    seam: bytes = b""
    resume: int = 0
    blocks: int = 0
    line: int = 0
    day: int = 0
    clock: str | None = None
    first: str | None = None
    left_out: int = 0

    def is_at(self, found: os.stat_result) -> bool:
        """Whether nothing happened to the file since it was read."""
        return (self.inode, self.size, self.modified) == (found.st_ino, found.st_size, found.st_mtime_ns)


_FIELDS = Log.__struct_fields__
_SELECT = f"SELECT {', '.join(_FIELDS)} FROM file"
_STORE = f"INSERT OR REPLACE INTO file({', '.join(_FIELDS)}) VALUES ({', '.join('?' * len(_FIELDS))})"


class Indexer:
    """The only writer of the index of a state directory. `should_stop` is asked after every slice."""

    def __init__(
        self, root: Path, state_dir: Path, settings: Settings, should_stop: Callable[[], bool] = lambda: False
    ) -> None:
        self._root = os.fspath(root)
        self._settings = settings
        self._should_stop = should_stop
        self._db = open_to_write(state_dir)
        self._log_bytes = self.state.log_bytes
        self._presence = RootPresence(root, islice(self._known_keys(), 1))

    def close(self) -> None:
        """Close the index."""
        self._db.close()

    @property
    def state(self) -> IndexState:
        """What the index holds."""
        return state_of(self._db)

    def sweep(self, progress: Callable[[int], None] = lambda size: None) -> None:
        """Look at the log of every run, oldest first, and forget those that are gone. `progress` gets the bytes read."""
        if not self._presence.is_there():
            return
        for key in self._known_keys():
            if self._settings.excludes(key):
                self._forget(key)
            else:
                self._stat(key)
        changed: list[tuple[int, str]] = []
        for run in find_runs(Path(self._root), foreign=True):
            if self._settings.excludes(run.key) or (stat := self._stat(run.key)) is None:
                continue
            log = self._log(run.key)
            if log is None or not log.is_at(stat):
                changed.append((stat.st_mtime_ns, run.key))
        for _, key in sorted(changed):
            if self._should_stop():
                return
            self.look_at(key, progress)
        self._mark_complete()

    def look_at_active(self) -> None:
        """Look at the logs that were written to within the last ten minutes."""
        since = time.time_ns() - int(_ACTIVE_S * 1e9)
        active = "SELECT key FROM file WHERE NOT left_out AND (modified > ? OR modified = 0)"
        for (key,) in self._db.execute(active, (since,)).fetchall():
            if self._should_stop():
                return
            self.look_at(str(key))

    def look_at(self, key: str, progress: Callable[[int], None] = lambda size: None) -> None:
        """Bring the index level with the log of one run."""
        stat = self._stat(key)
        if stat is None:
            return
        log = self._log(key)
        if log is not None and log.is_at(stat):
            return
        if log is not None and log.left_out and log.modified == stat.st_mtime_ns:
            return
        try:
            with open_to_read(self._path(key)) as file:
                for size in self._read(key, log, file.fileno()):
                    progress(size)
                    if self._should_stop():
                        return
        except OSError as error:  # what is known of it stays; should it be gone, the next look says so
            logger.debug("the log of %s cannot be read now: %s", key, error.strerror)

    # ── one file ────────────────────────────────────────────────────────────

    def _read(self, key: str, log: Log | None, descriptor: int) -> Iterator[int]:
        """Index what is new, slice by slice; yields the bytes of each, after its transaction."""
        stat = os.fstat(descriptor)
        if log is not None and not _is_continued(log, stat, descriptor):
            self._forget(key)
            log = None
        if log is None:
            log = Log(self._next_id(), key)
        if not self._has_room(log, stat):
            self._leave_out(log, stat)
            return
        if log.left_out:
            log = Log(log.id, key)
        log.inode = stat.st_ino
        is_end = False
        while not is_end:
            data = os.pread(descriptor, _SLICE_BYTES, log.resume)
            is_end = len(data) < _SLICE_BYTES
            before = log.size
            with transaction(self._db):
                self._add(log, data, is_end=is_end)
                if is_end:  # the size that was read, with a time that is not later: what follows is seen as new
                    log.modified = stat.st_mtime_ns if log.size == stat.st_size else 0
                log.head = os.pread(descriptor, min(_MARK_BYTES, log.size), 0)
                log.seam = os.pread(descriptor, min(_MARK_BYTES, log.size), max(0, log.size - _MARK_BYTES))
                self._store(log)
            self._log_bytes += log.size - before
            yield max(0, log.size - before)

    def _add(self, log: Log, data: bytes, *, is_end: bool) -> None:
        """Index the blocks in `data`, which begins at `log.resume`, and move on."""
        if log.first is None:
            log.first = next(iter(times_in(data)), None)
        base = log.resume
        clock = Clock(log.day, log.clock)
        self._delete(log.id << BLOCK_BITS | log.blocks)  # the block that was open
        log.size = base
        for block in cut(data, is_end=is_end):
            if log.blocks == MAX_BLOCKS - 1:
                break
            row_id = log.id << BLOCK_BITS | log.blocks
            content = data[block.start : block.end]
            self._db.execute(
                "INSERT INTO block VALUES (?, ?, ?, ?, ?, ?)",
                (row_id, base + block.start, base + block.end, log.line, clock.day, clock.time),
            )
            self._db.execute("INSERT INTO grams(rowid, text) VALUES (?, ?)", (row_id, indexed_text(content)))
            log.size = base + block.end
            if block.is_closed:
                clock = clock.after(content)
                log.resume = base + block.end
                log.blocks += 1
                log.line += block.lines
                log.day, log.clock = clock

    def _delete(self, block_id: int) -> None:
        self._db.execute("DELETE FROM block WHERE id = ?", (block_id,))
        if self._db.changes():
            self._db.execute("DELETE FROM grams WHERE rowid = ?", (block_id,))

    def _forget(self, key: str) -> None:
        log = self._log(key)
        if log is not None:
            with transaction(self._db):
                self._delete_blocks(log.id)
                self._db.execute("DELETE FROM file WHERE id = ?", (log.id,))
            self._log_bytes -= 0 if log.left_out else log.size

    def _delete_blocks(self, file_id: int) -> None:
        bounds = (file_id << BLOCK_BITS, (file_id + 1) << BLOCK_BITS)
        for (block_id,) in self._db.execute("SELECT id FROM block WHERE id >= ? AND id < ?", bounds).fetchall():
            self._db.execute("DELETE FROM grams WHERE rowid = ?", (block_id,))
        self._db.execute("DELETE FROM block WHERE id >= ? AND id < ?", bounds)

    # ── staying within the size ─────────────────────────────────────────────

    def _has_room(self, log: Log, stat: os.stat_result) -> bool:
        """Make room for a file by leaving out older ones; False if it is too large, or older than all others."""
        most = self._settings.limit_bytes / _INDEX_PER_LOG
        if stat.st_size > most:
            return False
        known = 0 if log.left_out else log.size
        missing = self._log_bytes + max(0, stat.st_size - known) - most
        if missing <= 0:
            return True
        older = self._db.execute(
            f"{_SELECT} WHERE left_out = 0 AND key <> ? AND modified < ? ORDER BY modified", (log.key, stat.st_mtime_ns)
        )
        going: list[Log] = []
        for row in older:  # as many as have to go, of maybe a hundred thousand
            going.append(Log(*row))  # type: ignore[arg-type]  # the columns are those of the struct
            missing -= going[-1].size
            if missing <= 0:
                break
        older.close()
        if missing > 0:
            return False
        for oldest in going:
            self._leave_out(oldest, None)
        self._merge()
        return True

    def _leave_out(self, log: Log, stat: os.stat_result | None) -> None:
        """Keep nothing of a log but the note that it is left out, until it is written to again."""
        kept = Log(log.id, log.key, log.inode, log.size, log.modified, left_out=1)
        if stat is not None:
            kept.inode, kept.size, kept.modified = stat.st_ino, stat.st_size, stat.st_mtime_ns
        with transaction(self._db):
            self._delete_blocks(log.id)
            self._store(kept)
        self._log_bytes -= 0 if log.left_out else log.size

    def _merge(self) -> None:
        """Have FTS5 drop some of what was deleted: until then it takes its space."""
        with transaction(self._db):
            self._db.execute("INSERT INTO grams(grams, rank) VALUES ('merge', ?)", (_MERGE_PAGES,))

    # ── looking things up ───────────────────────────────────────────────────

    def _mark_complete(self) -> None:
        if not self.state.is_complete:
            with transaction(self._db):
                self._db.execute("INSERT OR REPLACE INTO meta VALUES ('complete', 1)")

    def _known_keys(self) -> Iterator[str]:
        """Some at a time: there may be very many."""
        last = 0
        page = "SELECT id, key FROM file WHERE id > ? ORDER BY id LIMIT 1000"
        while rows := self._db.execute(page, (last,)).fetchall():
            yield from (str(key) for _, key in rows)
            last = int(str(rows[-1][0]))

    def _store(self, log: Log) -> None:
        self._db.execute(_STORE, [getattr(log, name) for name in _FIELDS])

    def _log(self, key: str) -> Log | None:
        rows = self._db.execute(f"{_SELECT} WHERE key = ?", (key,)).fetchall()
        return Log(*rows[0]) if rows else None  # type: ignore[arg-type]  # the columns are those of the struct

    def _next_id(self) -> int:
        rows = self._db.execute("SELECT ifnull(max(id), 0) + 1 FROM file").fetchall()
        return int(str(rows[0][0]))

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}/{LOGS_FILE}"

    def _stat(self, key: str) -> os.stat_result | None:
        """The state of the log of a run; None if there is none, and then it is forgotten, or if it cannot be known now."""
        try:
            found = os.stat(self._path(key))
            if S_ISREG(found.st_mode):
                return found
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:  # no permission, an I/O error, a stale handle
            logger.debug("the log of %s cannot be looked at now: %s", key, error.strerror)
            return None
        if self._presence.is_there():
            self._forget(key)
        return None


def _is_continued(log: Log, stat: os.stat_result, descriptor: int) -> bool:
    """Whether a file is the one that was read, and may have grown: else it was rotated, truncated or rewritten."""
    if log.left_out:
        return True
    if log.inode != stat.st_ino or stat.st_size < log.size or (stat.st_size == log.size and log.modified):
        return False
    head = os.pread(descriptor, len(log.head), 0)
    seam = os.pread(descriptor, len(log.seam), max(0, log.size - _MARK_BYTES))
    return (head, seam) == (log.head, log.seam)
