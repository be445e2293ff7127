"""One content on its way to the server: appended to a file, hashed as it comes, whole only if its digest is right.

What was written stays when the sender or the server dies; the sender continues behind it. For threads.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from runicorn.plugin import TooLarge, check_space
from runicorn_artifacts.uploads.errors import InReceipt, OtherDigest, OtherOffset

_READ_BYTES = 1 << 20


class IncomingContent:
    """The file of a content that is not complete yet; held by one request at a time."""

    def __init__(self, part: Path, sha256: str, size: int) -> None:
        self._part = part
        self._sha256 = sha256
        self._size = size
        self._descriptor = -1
        self._hash = hashlib.sha256()
        self.received = 0

    def open(self, offset: int) -> None:
        """Begin to append at `offset`. OtherOffset if the file is not that long; InReceipt if another request has it."""
        self._descriptor = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InReceipt from error
        self.received = os.fstat(self._descriptor).st_size
        if self.received != offset:
            raise OtherOffset(self.received)
        done = 0
        while chunk := os.pread(self._descriptor, _READ_BYTES, done):
            self._hash.update(chunk)
            done += len(chunk)
        os.lseek(self._descriptor, offset, os.SEEK_SET)

    def write(self, pieces: Sequence[bytes]) -> None:
        """Append. TooLarge beyond the declared size, StorageUnavailable before the disk is full."""
        length = sum(map(len, pieces))
        if self.received + length > self._size:
            raise TooLarge("The content is larger than declared")
        check_space(self._part.parent, length)
        for piece in pieces:
            view = memoryview(piece)
            while view:
                count = os.write(self._descriptor, view)
                self._hash.update(view[:count])
                self.received += count
                view = view[count:]

    def finish(self, target: Path, *, executable: bool) -> bool:
        """Whether it is complete, and then at `target`, read-only and on disk. OtherDigest if it is another content."""
        if self.received < self._size:
            return False
        if self._hash.hexdigest() != self._sha256:
            os.ftruncate(self._descriptor, 0)
            raise OtherDigest(f"sha256:{self._sha256}")
        seal(self._descriptor, executable=executable)
        os.fsync(self._descriptor)
        os.replace(self._part, target)
        return True

    def close(self) -> None:
        """Let others continue."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def seal(descriptor: int, *, executable: bool) -> None:
    """Make a file read-only, and a program of it if it is one, for those who may read it."""
    readable = os.fstat(descriptor).st_mode & 0o444
    os.fchmod(descriptor, readable | (readable >> 2 if executable else 0))
