"""Writing remote files with many requests in flight, as `Pipeline` reads them.

A batch of files takes one round trip to open, and one for everything else: bytes, times, sizes, closing. Servers answer
requests on one file in their order, and OpenSSH's answers all of them so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast

import msgspec

from runicorn_remote.channels import translated
from runicorn_remote.pipeline import IN_FLIGHT, MAX_BATCH_FILES, PIECE_BYTES, Pipeline, chunks

if TYPE_CHECKING:
    from paramiko.sftp_attr import SFTPAttributes

_MAX_TIME_S = 2**32 - 1


class RemoteIncomplete(Exception):
    """The server has another number of bytes than it was sent."""


class Writing(msgspec.Struct, frozen=True):
    """A file to be written, from where `content` is to `size` bytes; what is beyond is not sent."""

    path: str
    """Absolute."""
    content: BinaryIO
    offset: int
    """How many bytes are there already, in front of the others."""
    size: int
    mtime_s: int
    how: Literal["create", "extend", "replace"]
    """A file that must be new, one that keeps what it has, or one that is begun anew."""


class WritingPipeline(Pipeline):
    """A pipeline that writes, too. Each call returns an error in place of the result of a file; ConnectionLost concerns all.

    `sent_bytes` counts the bytes that the server has acknowledged.
    """

    sent_bytes = 0

    def make_directories(self, paths: Sequence[str]) -> None:
        """Make directories, in this order. Those that are there stay; a failure shows with the first file in one."""
        from paramiko.sftp import CMD_MKDIR
        from paramiko.sftp_attr import SFTPAttributes

        with translated():
            for some in chunks(paths):
                numbers = [self._send(CMD_MKDIR, path.encode(), SFTPAttributes()) for path in some]
                for number in numbers:
                    self._result(number, "")

    def write(self, files: Sequence[Writing]) -> list[Exception | None]:
        """Write files, at most as many as a batch has, and give them their times.

        RemoteIncomplete where the sizes are not right afterwards.
        """
        from paramiko.sftp import (
            CMD_OPEN,
            SFTP_FLAG_CREATE,
            SFTP_FLAG_EXCL,
            SFTP_FLAG_TRUNC,
            SFTP_FLAG_WRITE,
        )
        from paramiko.sftp_attr import SFTPAttributes

        if len(files) > MAX_BATCH_FILES:
            raise ValueError("too many files at once")
        results: list[Exception | None] = [None] * len(files)
        with translated():
            opening: list[int] = []
            for file in files:
                flags = SFTP_FLAG_WRITE
                if file.how != "extend":
                    flags |= SFTP_FLAG_CREATE | (SFTP_FLAG_EXCL if file.how == "create" else SFTP_FLAG_TRUNC)
                opening.append(self._send(CMD_OPEN, file.path.encode(), flags, SFTPAttributes()))
            handles = [self._result(number, file.path) for number, file in zip(opening, files, strict=True)]
            ends: list[tuple[int, int] | None] = []
            waiting: deque[tuple[int, int, int]] = deque()
            for index, (handle, file) in enumerate(zip(handles, files, strict=True)):
                if isinstance(handle, Exception):
                    results[index] = handle
                    ends.append(None)
                    continue
                ends.append(self._fill(handle.get_binary(), index, file, waiting, results))
            while waiting:
                self._settle(waiting, results)
            failed = [
                file
                for file, end, result in zip(files, ends, results, strict=True)
                if end is not None and result is not None
            ]
            for index, (end, file) in enumerate(zip(ends, files, strict=True)):
                if end is None:
                    continue
                stat = self._stat(end[0], file.path)
                self._result(end[1], file.path)
                if isinstance(stat, Exception):
                    results[index] = results[index] or stat
                elif stat.size != file.size:
                    results[index] = RemoteIncomplete(file.path)
            self._take_back(failed)
        return results

    def _take_back(self, files: Sequence[Writing]) -> None:
        """Cut files where they ended before: of what was sent behind a piece that has failed, some may have arrived."""
        from paramiko.sftp import CMD_SETSTAT
        from paramiko.sftp_attr import SFTPAttributes

        numbers: list[int] = []
        for file in files:
            attributes = SFTPAttributes()
            cast(Any, attributes).st_size = file.offset
            numbers.append(self._send(CMD_SETSTAT, file.path.encode(), attributes))
        for number in numbers:
            self._result(number, "")

    def rename(self, pairs: Sequence[tuple[str, str]]) -> list[Exception | None]:
        """Put files in the place of others, atomically, in this order."""
        from paramiko.sftp import CMD_EXTENDED

        results: list[Exception | None] = []
        with translated():
            for some in chunks(pairs):
                numbers = [
                    self._send(CMD_EXTENDED, b"posix-rename@openssh.com", old.encode(), new.encode())
                    for old, new in some
                ]
                for number, (_, new) in zip(numbers, some, strict=True):
                    answer = self._result(number, new)
                    results.append(answer if isinstance(answer, Exception) else None)
        return results

    def samples(self, path: str, places: Sequence[tuple[int, int]]) -> list[bytes]:
        """The bytes at some places of a file, each `(offset, length)` with at most 32 KiB."""
        from paramiko.sftp import CMD_CLOSE, CMD_OPEN, CMD_READ, SFTP_FLAG_READ, int64
        from paramiko.sftp_attr import SFTPAttributes

        with translated(path):
            opened = self._result(self._send(CMD_OPEN, path.encode(), SFTP_FLAG_READ, SFTPAttributes()), path)
            if isinstance(opened, Exception):
                raise opened
            handle = opened.get_binary()
            numbers = [self._send(CMD_READ, handle, int64(offset), length) for offset, length in places]
            closing = self._send(CMD_CLOSE, handle)
            pieces = [self._data(number, path, length) for number, (_, length) in zip(numbers, places, strict=True)]
            self._result(closing, path)
        return pieces

    def _fill(
        self,
        handle: bytes,
        index: int,
        file: Writing,
        waiting: deque[tuple[int, int, int]],
        results: list[Exception | None],
    ) -> tuple[int, int]:
        """Send the bytes of an open file, and what has to be done at its end: the numbers of its last two requests."""
        from paramiko.sftp import CMD_CLOSE, CMD_FSETSTAT, CMD_FSTAT, CMD_WRITE, int64

        position = file.offset
        while position < file.size and (piece := file.content.read(min(PIECE_BYTES, file.size - position))):
            waiting.append((self._send(CMD_WRITE, handle, int64(position), piece), len(piece), index))
            position += len(piece)
            if len(waiting) >= IN_FLIGHT:
                self._settle(waiting, results)
        waiting.append((self._send(CMD_FSETSTAT, handle, _times(file.mtime_s)), 0, index))
        return self._send(CMD_FSTAT, handle), self._send(CMD_CLOSE, handle)

    def _settle(self, waiting: deque[tuple[int, int, int]], results: list[Exception | None]) -> None:
        number, count, index = waiting.popleft()
        answer = self._result(number, "")
        if not isinstance(answer, Exception):
            self.sent_bytes += count
        elif count:  # times that cannot be set are no loss: the file is looked at again
            results[index] = results[index] or answer


def _times(seconds: int) -> SFTPAttributes:
    from paramiko.sftp_attr import SFTPAttributes

    attributes = SFTPAttributes()
    cast(Any, attributes).st_atime = cast(Any, attributes).st_mtime = min(max(0, seconds), _MAX_TIME_S)
    return attributes
