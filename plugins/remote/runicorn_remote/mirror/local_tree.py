"""Writing below one directory here, whatever a server calls its files: no link is followed on the way.

Directories are opened one below the other without following links, and files are named relative to the last one.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path

import msgspec

from runicorn_remote.paths import part_name
from runicorn_remote.room import require_room

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class LocalStat(msgspec.Struct, frozen=True):
    """What a file here looks like."""

    size: int
    mtime_ns: int


class UnsafePlace(OSError):
    """A link, or something else than a directory, is in the way: what the server sent would end up elsewhere."""


class Place:
    """One file to be, in an open directory. `path` has been checked by the caller."""

    def __init__(self, directory: int, name: str) -> None:
        self._directory = directory
        self.name = name

    def stat(self) -> LocalStat | None:
        """The regular file there; None if there is none."""
        try:
            found = os.stat(self.name, dir_fd=self._directory, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(found.st_mode):
            raise UnsafePlace(f"{self.name} is not a regular file")
        return LocalStat(found.st_size, found.st_mtime_ns)

    def tail(self, end: int, length: int) -> bytes:
        """The last `length` bytes before `end`."""
        descriptor = os.open(self.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._directory)
        try:
            return os.pread(descriptor, length, max(0, end - length))
        finally:
            os.close(descriptor)

    def pieces(self, size: int) -> Iterator[bytes]:
        """The content, up to `size` bytes at a time."""
        descriptor = os.open(self.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._directory)
        try:
            while piece := os.read(descriptor, size):
                yield piece
        finally:
            os.close(descriptor)

    def holds(self, content: bytes) -> bool:
        """Whether the file is there, with this content."""
        found = self.stat()
        return found is not None and found.size == len(content) and self.tail(found.size, found.size) == content

    def require_room(self, needed: int) -> None:
        """OSError (ENOSPC) if the disk has not so many bytes to spare."""
        require_room(self._directory, needed)

    def append(self, offset: int, pieces: Iterable[bytes]) -> int:
        """Write pieces at the end, which must be at `offset`; how many bytes. What was written before an error stays."""
        descriptor = os.open(
            self.name, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._directory
        )
        try:
            if os.fstat(descriptor).st_size != offset:
                raise UnsafePlace(f"{self.name} was changed by somebody else")
            return _write(descriptor, pieces)
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def replacement(self) -> Generator[Replacement]:
        """A new content, beside the file until `install` puts it in its place; removed if that does not happen."""
        part = part_name(self.name, secrets.token_hex(4))
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(part, flags, 0o666, dir_fd=self._directory)
        replacement = Replacement(self._directory, descriptor, part, self.name)
        try:
            yield replacement
        finally:
            os.close(descriptor)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part, dir_fd=self._directory)

    def set_mtime(self, mtime_ns: int) -> LocalStat:
        """Give it the time of the remote file; what it looks like then (a file system may round)."""
        os.utime(self.name, ns=(mtime_ns, mtime_ns), dir_fd=self._directory, follow_symlinks=False)
        found = self.stat()
        assert found is not None
        return found

    def remove(self) -> None:
        """Remove the file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.name, dir_fd=self._directory)


class Replacement:
    """See `Place.replacement`."""

    def __init__(self, directory: int, descriptor: int, part: str, name: str) -> None:
        self._directory = directory
        self._descriptor = descriptor
        self._part = part
        self._name = name

    def write(self, pieces: Iterable[bytes]) -> int:
        """Write pieces behind each other; how many bytes."""
        return _write(self._descriptor, pieces)

    def content(self) -> bytes:
        """What was written so far, as a whole."""
        return os.pread(self._descriptor, os.fstat(self._descriptor).st_size, 0)

    def sync(self) -> None:
        """Make what was written survive a machine crash."""
        os.fsync(self._descriptor)

    def install(self) -> None:
        """Put it in place, atomically."""
        os.replace(self._part, self._name, src_dir_fd=self._directory, dst_dir_fd=self._directory)


class LocalTree:
    """The files below `base`, which must exist."""

    def __init__(self, base: Path) -> None:
        self.base = base

    @contextlib.contextmanager
    def place(self, path: str) -> Generator[Place]:
        """Where the file `path` (relative, with `/`) is to be; directories are made. UnsafePlace if a link is in the way."""
        *directories, name = path.split("/")
        with self._descend(directories, create=True) as directory:
            yield Place(directory, name)

    def create_directory(self, path: str) -> bool:
        """Make a directory; False if something of that name is there already."""
        *directories, name = path.split("/")
        with self._descend(directories, create=True) as directory:
            try:
                os.mkdir(name, dir_fd=directory)
            except FileExistsError:
                return False
            return True

    def exists(self, path: str) -> bool:
        """Whether anything of that name is there, a link included."""
        return os.path.lexists(self.base / path)

    def remove_parts(self, directory: str) -> None:
        """Remove what an earlier process left behind half-written in one directory."""
        with contextlib.suppress(OSError), self._descend(directory.split("/"), create=False) as descriptor:
            for name in os.listdir(descriptor):
                if name.startswith(".") and name.endswith(".part"):
                    os.unlink(name, dir_fd=descriptor)

    @contextlib.contextmanager
    def _descend(self, directories: Iterable[str], *, create: bool) -> Generator[int]:
        descriptor = os.open(self.base, _DIRECTORY)
        try:
            for name in directories:
                deeper = _open_directory(descriptor, name, create=create)
                os.close(descriptor)
                descriptor = deeper
            yield descriptor
        finally:
            os.close(descriptor)


def _open_directory(parent: int, name: str, *, create: bool) -> int:
    try:
        return os.open(name, _DIRECTORY, dir_fd=parent)
    except FileNotFoundError:
        if not create:
            raise
    except OSError as error:  # a link (ELOOP), or a file (ENOTDIR)
        raise UnsafePlace(f"{name} is not a directory of this tree") from error
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, dir_fd=parent)
    return _open_directory(parent, name, create=False)


def _write(descriptor: int, pieces: Iterable[bytes]) -> int:
    written = 0
    for piece in pieces:
        view = memoryview(piece)
        while view:
            count = os.write(descriptor, view)
            view = view[count:]
            written += count
    return written
