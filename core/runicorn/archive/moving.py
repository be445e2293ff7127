"""Putting a directory in the place of another one."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def exchange(one: Path, other: Path, aside: Path) -> None:
    """Let two directories on one file system change places; afterwards each path has the other's content.

    At once where the system can (Linux): nobody ever sees one of them missing. Otherwise by three renames, with `other`
    at `aside` meanwhile: whoever finds it there after a crash, and nothing in its place, moves it back.
    """
    if not _exchanged_at_once(one, other):
        aside.parent.mkdir(parents=True, exist_ok=True)
        os.rename(other, aside)
        try:
            os.rename(one, other)
        except BaseException:
            os.rename(aside, other)
            raise
        os.rename(aside, one)


def _exchanged_at_once(one: Path, other: Path) -> bool:
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise OSError(number, os.strerror(number), os.fspath(other))
