"""Copies of file content: cloned where the file system can share blocks, else read and written.

The digest is that of the bytes that the copy holds, whatever happens to the source meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import logging
import os
import stat
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import msgspec

logger = logging.getLogger("runicorn.artifacts")

Progress = Callable[[int], None]
"""Called with a number of bytes that were read since the last call; from any thread."""

_CHUNK_BYTES = 1 << 20
_ATTEMPTS = 3
_FICLONE = (
    0x40049409  # <linux/fs.h>; the same on all architectures that Python is built for but MIPS, PowerPC and SPARC
)
_NO_CLONE = (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.EPERM, errno.ENOSYS, errno.EBADF)


class Copied(msgspec.Struct, frozen=True):
    """A finished copy."""

    sha256: str
    size: int
    modified_at: float
    """Of the source."""


def no_progress(_: int) -> None:
    """Nobody looks."""


def copy_with_digest(source: Path, target: Path, progress: Progress = no_progress) -> Copied:
    """Copy a file to `target`, a new read-only file that is on disk when this returns.

    A source that changes meanwhile is copied again, at most three times; then there is a warning, and the copy holds what
    was read. OSError as it comes.
    """
    copied, is_settled = _copy_once(source, target, progress)
    for _ in range(_ATTEMPTS - 1):
        if is_settled:
            break
        copied, is_settled = _copy_once(source, target, progress)
    if not is_settled:
        logger.warning("%s changes while it is saved: the artifact holds what was read", source)
    return copied


def copy_content(source: Path, target: Path, *, mode: int) -> None:
    """Copy a file of the store to a new file, sharing its blocks if possible, but never the file itself."""
    with open(source, "rb", buffering=0) as file, _created(target, mode) as out:
        if not _clone(file.fileno(), out):
            while chunk := file.read(_CHUNK_BYTES):
                _write(out, chunk)


def copy_hashed(source: Path, target: Path, *, mode: int, progress: Progress) -> tuple[str, int]:
    """`copy_content`; SHA-256 (64 hex digits) and size of what the copy holds, blocks that it shares included."""
    with open(source, "rb", buffering=0) as file, _created(target, mode) as out:
        return _fill(file.fileno(), out, progress)


def digest_of(path: Path, progress: Progress = no_progress) -> tuple[str, int]:
    """SHA-256 (64 hex digits) and size of a file, read in pieces. OSError as it comes."""
    with open(path, "rb", buffering=0) as file:
        return _hash(file.fileno(), progress)


def _copy_once(source: Path, target: Path, progress: Progress) -> tuple[Copied, bool]:
    """The copy, and whether the source is still what it was when the copying began."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(target)
    with open(source, "rb", buffering=0) as file:
        before = os.fstat(file.fileno())
        if not stat.S_ISREG(before.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", os.fspath(source))
        with _created(target, 0o666 | (before.st_mode & 0o111)) as out:
            digest, size = _fill(file.fileno(), out, progress)
            os.fchmod(out, os.fstat(out).st_mode & 0o555)
            os.fsync(out)
    after = os.stat(source)
    settled = all(getattr(after, name) == getattr(before, name) for name in ("st_size", "st_mtime_ns", "st_ino"))
    return Copied(digest, size, before.st_mtime), settled and size == before.st_size


@contextlib.contextmanager
def _created(path: Path, mode: int) -> Generator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _fill(source: int, out: int, progress: Progress) -> tuple[str, int]:
    return _hash(out, progress) if _clone(source, out) else _copy(source, out, progress)


def _copy(source: int, out: int, progress: Progress) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    while chunk := os.read(source, _CHUNK_BYTES):
        digest.update(chunk)
        _write(out, chunk)
        size += len(chunk)
        progress(len(chunk))
    return digest.hexdigest(), size


def _hash(descriptor: int, progress: Progress) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    while chunk := os.pread(descriptor, _CHUNK_BYTES, size):
        digest.update(chunk)
        size += len(chunk)
        progress(len(chunk))
    return digest.hexdigest(), size


def _write(out: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(out, view) :]


def _clone(source: int, out: int) -> bool:
    """Let `out` share the blocks of `source`; False where the file system cannot."""
    if sys.platform != "linux":
        return False
    try:
        fcntl.ioctl(out, _FICLONE, source)
    except OSError as error:
        if error.errno in _NO_CLONE:
            return False
        raise
    return True
