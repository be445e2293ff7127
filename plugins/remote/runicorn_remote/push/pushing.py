"""Pushing the files of one run: streams grow there by append, every other file is replaced atomically, nothing is deleted.

A push that was cut off goes on where it ended: what is there already is compared, and only the rest is sent.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import posixpath
import stat
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from runicorn.plugin import Conflict, LockTimeout, config_file, file_lock, open_to_read
from runicorn_remote.channels import translated
from runicorn_remote.errors import ConnectionLost, NotADirectory, RemotePathNotFound
from runicorn_remote.mirror.units import is_append_only
from runicorn_remote.push.local_runs import LocalFile, files_of

if TYPE_CHECKING:
    from paramiko.sftp_attr import SFTPAttributes
    from paramiko.sftp_client import SFTPClient

_COMPARED_BYTES = 64 << 10
"""Of a stream that is there: how much of its beginning, and of its end, must equal ours."""
_PIECE_BYTES = 32 << 10
_YOUNG_NS = 2_000_000_000


class NotOurs(Conflict):
    """A stream there is not the beginning of the one here."""

    def __init__(self, path: str) -> None:
        super().__init__(f"The remote file is not the beginning of the local one: {path}")
        self.path = path


class PushBusy(Conflict):
    """Another process pushes this run to this place."""

    def __init__(self, key: str) -> None:
        super().__init__(f"Another process pushes this run: {key}")


class PushIncomplete(Conflict):
    """The server has fewer bytes than it was sent."""

    def __init__(self, path: str) -> None:
        super().__init__(f"The remote file is incomplete (is the disk full?): {path}")


class PushStats(msgspec.Struct):
    """What was sent."""

    runs: int = 0
    files: int = 0
    sent_bytes: int = 0
    conflicts: list[str] = []


class Pusher:
    """Pushes runs of the root `local` below the directory `remote` of one machine. Use another one after a loss."""

    def __init__(self, sftp: SFTPClient, local: Path, remote: str, connection_id: str, stats: PushStats) -> None:
        self._sftp = sftp
        self._local = local
        self._remote = remote.rstrip("/")
        self._place = f"{connection_id}\n{remote}\n{local}"
        self._stats = stats
        self._made: set[str] = set()

    def push(self, key: str) -> None:
        """Push a run. NotOurs before any of its files is replaced; PushBusy; PushIncomplete; errors of the connection."""
        mark = hashlib.sha256(f"{self._place}\n{key}".encode()).hexdigest()[:16]
        with _alone(mark, key):
            for file in files_of(self._local, key):
                path = f"{self._remote}/{file.path}"
                there = self._stat(path)
                if there is not None and (there.st_size, there.st_mtime) == (file.size, file.mtime_ns // 10**9):
                    continue
                try:
                    content = open_to_read(self._local / file.path)
                except FileNotFoundError:  # gone since it was listed
                    continue
                with content, self._remotely(file.path):
                    if is_append_only(file.path):
                        self._append(file, content, path, there)
                    else:
                        file = _as_opened(file, content)
                        self._replace(file, content, path, mark)
                    self._set_time(path, file)
                self._stats.files += 1

    def _append(self, file: LocalFile, content: BinaryIO, path: str, there: SFTPAttributes | None) -> None:
        size = 0
        if there is None:
            self._make_directory(posixpath.dirname(path))
            self._sftp.open(path, "wx").close()
        else:
            size = there.st_size or 0
            if not stat.S_ISREG(there.st_mode or 0) or size > file.size or not self._is_beginning(path, size, content):
                raise NotOurs(file.path)
        if size == file.size:
            return
        content.seek(size)
        with self._sftp.open(path, "r+") as remote:
            remote.set_pipelined(True)
            remote.seek(size)
            self._send(content, file.size - size, remote.write)
        self._check_size(path, file)

    def _replace(self, file: LocalFile, content: BinaryIO, path: str, mark: str) -> None:
        directory, name = posixpath.split(path)
        self._make_directory(directory)
        part = f"{directory}/.{name[:200]}.{mark}.part"  # the same each time: what a killed push left is written over
        with self._sftp.open(part, "w") as remote:
            remote.set_pipelined(True)
            self._send(content, file.size, remote.write)
        self._check_size(part, file)
        self._sftp.posix_rename(part, path)

    def _send(self, content: BinaryIO, count: int, write: Callable[[bytes], object]) -> None:
        """No more than was listed: a stream that grows meanwhile is for the next push."""
        while count > 0 and (piece := content.read(min(count, _PIECE_BYTES))):
            write(piece)
            count -= len(piece)
            self._stats.sent_bytes += len(piece)

    def _check_size(self, path: str, file: LocalFile) -> None:
        if self._sftp.stat(path).st_size != file.size:
            raise PushIncomplete(file.path)

    def _is_beginning(self, path: str, size: int, content: BinaryIO) -> bool:
        """Compare both ends of what is there; only the whole of it where it is short."""
        with self._sftp.open(path, "r") as remote:
            for start in sorted({0, max(0, size - _COMPARED_BYTES)}):
                count = min(size - start, _COMPARED_BYTES)
                content.seek(start)
                remote.seek(start)
                if count and remote.read(count) != content.read(count):
                    return False
        return True

    def _set_time(self, path: str, file: LocalFile) -> None:
        """The time of ours. A file that may change within the same second gets an older one: it is looked at again."""
        seconds = file.mtime_ns // 10**9 - (time.time_ns() - file.mtime_ns < _YOUNG_NS)
        self._sftp.utime(path, (seconds, seconds))

    @contextlib.contextmanager
    def _remotely(self, path: str) -> Generator[None]:
        """Our errors; a closed socket has no number, as the server's "failure" has none."""
        try:
            with translated(path):
                yield
        except NotADirectory as error:
            channel = self._sftp.get_channel()
            if channel is None or channel.closed:
                raise ConnectionLost from error
            raise

    def _stat(self, path: str) -> SFTPAttributes | None:
        try:
            with self._remotely(path):
                return self._sftp.stat(path)
        except RemotePathNotFound:
            return None

    def _make_directory(self, path: str) -> None:
        if path in self._made or path in ("", "/"):
            return
        if self._stat(path) is None:
            self._make_directory(posixpath.dirname(path))
            with contextlib.suppress(OSError):  # another push was quicker; a real failure shows with the first file
                self._sftp.mkdir(path)
        self._made.add(path)


def _as_opened(file: LocalFile, content: BinaryIO) -> LocalFile:
    """The run may have replaced a file since it was listed: what was opened is sent, all of it."""
    now = os.fstat(content.fileno())
    return msgspec.structs.replace(file, size=now.st_size, mtime_ns=now.st_mtime_ns)


@contextlib.contextmanager
def _alone(mark: str, key: str) -> Generator[None]:
    directory = config_file().parent / "pushes"
    directory.mkdir(parents=True, exist_ok=True)
    try:
        with file_lock(directory / f"{mark}.lock", timeout_s=0.0):
            yield
    except LockTimeout:
        raise PushBusy(key) from None
