"""Appending lines so that training never fails or waits because of it.

While the disk is full, read-only or otherwise in trouble, lines stay in memory, in order and bounded, and are tried
again. A stream whose directory was removed is given up: a purged run is never made again.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable

from runicorn.events.append import StreamRemoved, StreamWriter
from runicorn.sdk.later import call_later
from runicorn.sdk.warn_once import Warnings

MAX_LINES = 10_000
MAX_BYTES = 16 << 20

_RETRY_S = 0.5  # between attempts while an error lasts: each one tries up to a batch
_BATCH_BYTES = 256 << 10


class Appender:
    """Appends to one stream; never raises because of the storage. Safe for threads, processes, signals and `fork`.

    `is_present` tells whether the run still exists, before anything is created in its directory. With `keep_open`
    False the file is opened for each append, so that it may be rotated or removed while the run goes on.
    """

    def __init__(
        self, path: str, is_present: Callable[[], bool], warnings: Warnings, *, keep_open: bool = True
    ) -> None:
        self.is_removed = False
        """The run was purged: nothing is written any more."""
        self._writer = StreamWriter(path)
        self._file_name = os.path.basename(path)
        self._is_present = is_present
        self._keep_open = keep_open
        self._is_open = False
        # A signal handler may log while its own thread is in here: it gets in, but leaves the work to that thread.
        self._lock = threading.RLock()
        self._is_busy = False
        self._has_news = False
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._retry_at = 0.0
        self._retry_is_planned = False
        self._warnings = warnings

    @property
    def waiting(self) -> int:
        """Number of lines that could not be written yet."""
        return len(self._waiting)

    def append(self, line: bytes) -> None:
        """Append one line (or several), each ended by a newline: with the operating system now, or kept in memory."""
        if self.is_removed:
            return
        with self._lock:
            if self._is_busy or self._waiting:
                self._keep(line)
                if self._is_busy or time.monotonic() < self._retry_at:
                    return
                line = b""
            self._is_busy = True
            try:
                self._try(line)
            finally:
                self._is_busy = False
        if self._has_news:
            self._has_news = False
            self._warnings.say()

    def flush(self) -> bool:
        """Try to write what waits, now; whether nothing waits any more."""
        with self._lock:
            if not self._is_busy and self._waiting:
                self._is_busy = True
                try:
                    self._try(b"")
                finally:
                    self._is_busy = False
        self._warnings.say()
        return not self._waiting

    def sync(self) -> None:
        """Make what was written survive a machine crash, as far as the storage allows."""
        with self._lock, contextlib.suppress(OSError):
            if not self._is_busy:
                self._writer.sync()

    def close(self) -> None:
        """Release the descriptors; a later append opens them again."""
        with self._lock:
            if not self._is_busy:
                self._is_open = False
                self._writer.close()

    def after_fork(self) -> None:
        """In the child: what waits belongs to the parent, which will write it."""
        self._lock = threading.RLock()
        self._is_busy = self._is_open = self._retry_is_planned = False
        self._waiting = deque()
        self._waiting_bytes = 0

    def _try(self, line: bytes) -> None:
        """Write `line`, or else what waits; what cannot be written waits."""
        try:
            if line:
                self._write(line)
                line = b""
            while self._waiting:
                batch = self._next_batch()
                self._write(b"".join(batch))
                for written in batch:
                    self._waiting.popleft()
                    self._waiting_bytes -= len(written)
        except StreamRemoved:
            self._give_up()
        except OSError as error:
            if line:
                self._keep(line)
            self._wait(error)

    def _write(self, lines: bytes) -> None:
        if not self._is_open and not self._is_present():
            raise StreamRemoved
        try:
            self._writer.append(lines)
            self._is_open = self._keep_open
        finally:
            if not self._is_open:
                self._writer.close()

    def _next_batch(self) -> list[bytes]:
        batch: list[bytes] = []
        size = 0
        for line in self._waiting:
            size += len(line)
            if batch and size > _BATCH_BYTES:
                break
            batch.append(line)
        return batch

    def _keep(self, line: bytes) -> None:
        self._waiting.append(line)
        self._waiting_bytes += len(line)
        while len(self._waiting) > MAX_LINES or self._waiting_bytes > MAX_BYTES:
            self._waiting_bytes -= len(self._waiting.popleft())
            self._note("dropped", f"{self._file_name} cannot be written for too long: the oldest lines are dropped")

    def _wait(self, error: OSError) -> None:
        self._retry_at = time.monotonic() + _RETRY_S
        reason = error.strerror or type(error).__name__
        self._note("trouble", f"{self._file_name} cannot be written ({reason}): its lines stay in memory for now")
        if not self._retry_is_planned:
            self._retry_is_planned = True
            call_later(_RETRY_S, self._retry)

    def _retry(self) -> None:
        self._retry_is_planned = False
        self.flush()

    def _give_up(self) -> None:
        self.is_removed = True
        self._waiting.clear()
        self._waiting_bytes = 0
        self._warnings.note("removed", "the run was removed: nothing more is recorded in it")
        self._has_news = True

    def _note(self, about: str, text: str) -> None:
        self._warnings.note(f"{self._file_name}: {about}", text)
        self._has_news = True
