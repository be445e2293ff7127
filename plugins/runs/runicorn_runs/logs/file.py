"""One opened log file, and what the path of a log names.

A log is a path; over time the path may name several files: rotated by renaming, replaced, removed and made again. The
file that is being followed stays open, so that its rest can still be read when the path names something else. There is
one descriptor for each followed path, shared by all clients (positional reads), and none for paths nobody follows.
"""

from __future__ import annotations

import os
import stat
import weakref
from pathlib import Path
from typing import Literal

import msgspec


class LogFile:
    """A log file that was opened for reading. Reads are positional: any number of threads may share it.

    It is closed when the last reference goes: a client may be gone while a thread still reads for it, and a descriptor
    closed too early could name another file by then.
    """

    def __init__(self, path: Path) -> None:
        # Non-blocking: opening a named pipe would wait for a writer.
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        weakref.finalize(self, os.close, self._descriptor)
        self.ended = False
        """The path names another file now, or nothing: what this one holds is all that will be read of it."""
        found = self.stat()
        if not stat.S_ISREG(found.st_mode):
            raise OSError("not a regular file")
        self.identity = found.st_dev, found.st_ino

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes; fewer only at the end of the file."""
        return os.pread(self._descriptor, length, offset)

    def stat(self) -> os.stat_result:
        """As `os.fstat`: also of a file that has no name any more."""
        return os.fstat(self._descriptor)


class Look(msgspec.Struct, frozen=True):
    """What a path named at one moment. Two equal looks mean: nothing to read."""

    names: Literal["file", "replacement", "nothing", "unreadable"]
    """`file`: the followed one. `replacement`: an empty file, while the followed one is still there under another name."""
    file: LogFile | None = None
    """The followed file. It may have been renamed; then it is followed until a replacement has content."""
    size: int = 0
    mtime_ns: int = 0
    reason: str = ""
    """Why it is unreadable. For the server's log only: it may hold a path."""


NOT_LOOKED = Look("nothing")


def look_at(path: Path, before: Look) -> Look:
    """What `path` names now; `before` says which file is being followed. Never raises OSError."""
    try:
        return _look(path, before.file)
    except (OSError, ValueError) as error:
        return Look("unreadable", reason=str(error))


def _look(path: Path, followed: LogFile | None) -> Look:
    try:
        named = os.stat(path)
        if not stat.S_ISREG(named.st_mode):
            raise OSError("not a regular file")
        if followed is None:
            return _opened(path)
        if followed.identity == (named.st_dev, named.st_ino):
            return Look("file", followed, named.st_size, named.st_mtime_ns)
        held = followed.stat()
        # A writer that is told to reopen its log goes on in the renamed file until it does.
        if named.st_size == 0 and held.st_nlink > 0:
            return Look("replacement", followed, held.st_size, held.st_mtime_ns)
        return _opened(path)
    except (FileNotFoundError, NotADirectoryError):
        if followed is None:
            return NOT_LOOKED
        held = followed.stat()
        # Keeping a deleted file open would keep its space on the disk.
        return Look("nothing", followed, held.st_size, held.st_mtime_ns) if held.st_nlink else Look("nothing")


def _opened(path: Path) -> Look:
    file = LogFile(path)
    found = file.stat()
    return Look("file", file, found.st_size, found.st_mtime_ns)
