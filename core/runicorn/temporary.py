"""Directories of temporary files that do not outlive their process, however it ends.

Who works in such a directory holds the lock of a file in it. The system releases that of a process that was killed, so the
next one that needs a directory of the same kind can tell what was abandoned, and removes it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Generator
from pathlib import Path

from runicorn.files import LockTimeout, lock_descriptor

_IN_USE = "in-use"


@contextlib.contextmanager
def temporary_directory(kind: str) -> Generator[Path]:
    """A new directory for as long as the context lasts; before that, those of killed processes are removed.

    It is in `TMPDIR`, and its name begins with `runicorn-`, `kind` and another `-`. OSError if there is no room for it.
    """
    prefix = f"runicorn-{kind}-"
    _remove_abandoned(prefix)
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as name:
        directory = Path(name)
        lock = _claim(directory)
        try:
            yield directory
        finally:
            os.close(lock)


def _claim(directory: Path) -> int:
    """Take the lock before the file has the name by which others look for it."""
    unnamed = directory / f"{_IN_USE}.new"
    lock = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        lock_descriptor(lock, timeout_s=0)
        unnamed.rename(directory / _IN_USE)
    except BaseException:
        os.close(lock)
        raise
    return lock


def _remove_abandoned(prefix: str) -> None:
    for directory in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        # Somebody removes it just now, or it is somebody else's: either way it is not for us to worry about.
        with contextlib.suppress(OSError, LockTimeout):
            found = directory.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
                continue
            lock = os.open(directory / _IN_USE, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                lock_descriptor(lock, timeout_s=0)
                shutil.rmtree(directory)
            finally:
                os.close(lock)
