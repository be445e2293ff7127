"""The store stream: commands on runs, and what was observed in files that are not event streams.

Server, CLI and projector may all append; an OS file lock makes them one writer at a time. Every append is fsynced before
it returns: a command survives a machine crash. Segments hold at most 64 MiB and are named `00000001.jsonl`, ….
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from stat import S_ISREG

from runicorn.config import INTERNAL, state_directory
from runicorn.errors import StorageUnavailable
from runicorn.events.actor import signed
from runicorn.events.append import StreamRemoved, StreamWriter
from runicorn.events.believable import latest_believable
from runicorn.events.envelope import Payload, decode_event, encode_event
from runicorn.events.log import FileLog, Stream, segments
from runicorn.files import LockTimeout, file_lock, open_to_read, sync_directory

logger = logging.getLogger("runicorn.events")

_SEGMENT_BYTES = 64 << 20  # a reader that fell behind opens at most one of these; larger only slows `events verify`
_LOCK_TIMEOUT_S = 5.0  # an append takes milliseconds: who holds the lock that long has stopped, or hangs
_TICK = 1e-6
_TAIL_BYTES = 1 << 16


class StoreLocked(StorageUnavailable):
    """Somebody else holds the lock of the store stream; nothing was recorded."""

    def __init__(self) -> None:
        super().__init__("Another process holds the lock of the store's log. Nothing was recorded; try again later.")


class StoreStream:
    """Appends to the store stream of a root.

    Times never go back within the stream when the clock does: a later command has the greater `ts`. A time that lies more
    than a year ahead is the exception: that clock was wrong, and later commands do not follow it. Nothing is recorded as of
    a later time than its append, either: a file that claims the year 2100 outlives no command.
    """

    def __init__(
        self, log: FileLog, *, segment_bytes: int = _SEGMENT_BYTES, lock_timeout_s: float = _LOCK_TIMEOUT_S
    ) -> None:
        self._segment_bytes = segment_bytes
        self._lock_timeout_s = lock_timeout_s
        self._log = log
        self._mutex = threading.Lock()
        self._writer: tuple[Path, StreamWriter] | None = None
        self._last: dict[Path, tuple[int, float]] = {}
        """By segment: the last time in it, as of a size."""
        self._warned = False

    def append(self, *payloads: Payload, ts: float | None = None) -> tuple[Stream, int]:
        """Append events that belong together with one write and fsync; the stream and the offset behind them.

        `ts` is when they became true (default: now); commands leave it out. StorageUnavailable if nothing was written.
        """
        return self.append_at([(ts, payload) for payload in payloads])

    def append_at(self, events: Sequence[tuple[float | None, Payload]]) -> tuple[Stream, int]:
        """Like `append`, with a time for each event; None is the time of the append."""
        return self.append_raw([(ts, payload.event_type, signed(payload)) for ts, payload in events])

    def append_raw(self, events: Sequence[tuple[float | None, str, object]]) -> tuple[Stream, int]:
        """Like `append_at`, of any type and with any data, such as `msgspec.Raw`: for events that another store recorded."""
        deadline = time.monotonic() + self._lock_timeout_s
        if not self._mutex.acquire(timeout=self._lock_timeout_s):
            raise StoreLocked
        try:
            try:
                return self._append(events, deadline)
            except StreamRemoved:  # somebody removed the log of a running server: a new one begins
                return self._append(events, deadline)
        except LockTimeout as error:
            raise StoreLocked from error
        except OSError as error:
            raise StorageUnavailable from error
        finally:
            self._mutex.release()

    @cached_property
    def _place(self) -> tuple[Path, str]:
        """The directory of the segments, and what their streams' names begin with.

        Found out by the first append, not before: to open a store must leave no trace in a root that is not mounted.
        """
        if _can_be_written(self._log.root):
            return self._log.root / INTERNAL / "log", f"{INTERNAL}/log/"
        return self._log.state_dir / "log", "@state/log/"

    def _append(self, events: Sequence[tuple[float | None, str, object]], deadline: float) -> tuple[Stream, int]:
        directory, prefix = self._place
        directory.mkdir(parents=True, exist_ok=True)
        with file_lock(directory / "lock", timeout_s=max(0.0, deadline - time.monotonic())):
            existing = segments(directory)
            path = self._segment(directory, existing)
            clock = time.time()
            now = max(clock, self._last_time(latest_believable(clock)) + _TICK)
            lines = b"".join(
                encode_event(now if ts is None or not ts <= now else ts, kind, data) for ts, kind, data in events
            )
            if path not in existing or not path.stat().st_size:
                _begin(path)  # before the append: what is in it must not be there if its name cannot be made to last
            end = self._open(path).append(lines, fsync=True) + len(lines)
            self._last[path] = end, now
        return Stream("store", prefix + path.stem), end

    def _segment(self, directory: Path, existing: Sequence[Path]) -> Path:
        if not existing:
            return directory / "00000001.jsonl"
        newest = existing[-1]
        status = _status_of(newest)
        if status is not None and status.st_size < self._segment_bytes:
            return newest
        return directory / f"{int(newest.stem) + 1:08d}.jsonl"

    def _open(self, path: Path) -> StreamWriter:
        if self._writer is None or self._writer[0] != path:
            if self._writer is not None:
                self._writer[1].close()
            self._writer = (path, StreamWriter(path))
        return self._writer[1]

    def _last_time(self, limit: float) -> float:
        """The time of the last append, by whomever; 0 if there was none, or if it is later than `limit`."""
        # In both places: a root that was read-only had its events in the state directory.
        return max(self._last_time_in(directory, limit) for directory in self._log.store_directories())

    def _last_time_in(self, directory: Path, limit: float) -> float:
        for path in reversed(segments(directory)):
            stat = _status_of(path)
            if stat is None or not stat.st_size:
                continue
            size, last = self._last.get(path, (0, 0.0))
            if size == stat.st_size and last <= limit:
                return last
            # Observed events may carry much older times than the append: the file's own time knows better.
            times = [stat.st_mtime, *_times_near_end(path)]
            believed = [ts for ts in times if ts <= limit]
            if len(believed) < len(times) and not self._warned:
                logger.warning("the store's log has times that are more than a year ahead: they are not followed")
                self._warned = True
            if believed:
                self._last[path] = stat.st_size, max(believed)
                return max(believed)
        return 0.0


def _status_of(path: Path) -> os.stat_result | None:
    """None where something else than a file has the name of a segment: it is left alone, and the next number is taken."""
    try:
        status = path.stat()
    except FileNotFoundError:  # a link to nothing
        return None
    return status if S_ISREG(status.st_mode) else None


def _begin(path: Path) -> None:
    """Make a segment whose name survives a machine crash."""
    path.touch(mode=0o644)
    sync_directory(path.parent)
    for parent in (path.parent.parent, path.parent.parent.parent):
        with contextlib.suppress(OSError):  # one that must not be read; it is older than our directory
            sync_directory(parent)


def _times_near_end(path: Path) -> list[float]:
    """The times of the last events of a segment."""
    with open_to_read(path) as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
        lines = file.read().split(b"\n")
    times: list[float] = []
    for line in lines:
        with contextlib.suppress(ValueError):
            event = decode_event(line)
            if event is not None and event.ts == event.ts:
                times.append(event.ts)
    return times


def _can_be_written(root: Path) -> bool:
    """Whether the store stream can be in the root; makes its directory there if so."""
    if not os.access(root, os.W_OK):
        return False
    try:
        (root / INTERNAL / "log").mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(root / INTERNAL / "log", os.W_OK)


def recorder_of(root: Path) -> Callable[..., object]:
    """Appends events to the store stream of a root, without a server: `Store.record` for the command line."""
    return StoreStream(FileLog(root, state_directory(root))).append
