"""Appending to a stream that is one JSONL file.

One writer at a time holds the advisory lock of `<file>.lock` (shared with 0.4.0); each batch is one `write(2)` on a
descriptor opened with `O_APPEND`. A torn last line, left by a crash or a full disk, is ended before more is appended.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import weakref
from pathlib import Path

from runicorn.files import lock_descriptor, unlock_descriptor


class StreamRemoved(OSError):
    """The stream's file or directory was removed under its writer; it must not be made again."""


class StreamWriter:
    """Appends complete lines to one stream. Safe for threads, for several processes, and after `fork`.

    The file and its lock file are created by the first append; the directory must exist. With `is_locked` the caller holds
    a lock that makes it the only writer, and there is no lock file.
    """

    def __init__(self, path: Path | str, *, is_locked: bool = False) -> None:
        self._path = os.fspath(path)
        self._is_locked = is_locked
        self._mutex = threading.Lock()
        self._file = -1
        self._lock = -1
        self._end = -1
        _writers.add(self)

    def append(self, lines: bytes, *, fsync: bool = False) -> int:
        """Append `lines` (each ended by a newline) with one write; the offset of the first of them.

        The bytes are with the operating system when this returns; with `fsync` they survive a machine crash. All or
        nothing: on an error (disk full, file too large, …) no part of `lines` stays as an event and OSError is raised;
        StreamRemoved if the file is gone.
        """
        with self._mutex:
            if self._file < 0:
                self._open()
            if self._is_locked:
                return self._write(lines, fsync)
            lock_descriptor(self._lock)
            try:
                return self._write(lines, fsync)
            finally:
                if self._lock >= 0:  # else it was closed, which releases the lock as well
                    unlock_descriptor(self._lock)

    def sync(self) -> None:
        """Make everything appended so far survive a machine crash."""
        with self._mutex:
            if self._file >= 0:
                os.fsync(self._file)

    def close(self) -> None:
        """Release the descriptors; a later append opens them again."""
        with self._mutex:
            self._close()

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        try:
            if not self._is_locked:
                self._lock = os.open(self._path + ".lock", flags, 0o644)
            self._file = os.open(self._path, flags, 0o644)
        except FileNotFoundError as error:
            self._close()
            raise StreamRemoved(errno.ENOENT, "the directory of the stream is gone") from error
        except OSError:
            self._close()
            raise
        self._end = -1

    def _close(self) -> None:
        for descriptor in (self._file, self._lock):
            if descriptor >= 0:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        self._file = self._lock = -1

    def _write(self, lines: bytes, fsync: bool) -> int:
        stat = os.fstat(self._file)
        if stat.st_nlink == 0:
            self._close()
            raise StreamRemoved(errno.ENOENT, "the stream was removed")
        start = stat.st_size
        # Our own last append ended in a newline; only somebody else's bytes need a look.
        if start != self._end and start and os.pread(self._file, 1, start - 1) != b"\n":
            lines = b"\n" + lines
            torn = 1
        else:
            torn = 0
        try:
            written = os.write(self._file, lines)
        except OSError:
            self._end = -1
            raise
        if written != len(lines):
            # Disk full: take the torn piece back while we hold the lock. Should that fail, the next append ends it.
            self._take_back(start)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if fsync:
            try:
                os.fsync(self._file)
            except OSError:
                # A reader may have seen the lines already: for it, the stream was truncated.
                self._take_back(start)
                raise
        self._end = start + written
        return start + torn

    def _take_back(self, start: int) -> None:
        self._end = -1
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, start)

    def _after_fork(self) -> None:
        # A flock belongs to the open file description, which parent and child now share: the child opens its own.
        self._mutex = threading.Lock()
        self._close()


_writers: weakref.WeakSet[StreamWriter] = weakref.WeakSet()


def _reopen_after_fork() -> None:
    for writer in list(_writers):
        writer._after_fork()  # pyright: ignore[reportPrivateUsage]  # of this module


os.register_at_fork(after_in_child=_reopen_after_fork)
