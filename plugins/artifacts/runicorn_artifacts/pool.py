"""Where the content of versions is kept: each content once, under its SHA-256, and linked into the versions.

Files of the pool are read-only, and so are the files of versions: they are the same files wherever the file system has
hard links. Whatever a version shows is there even if the pool is not.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from runicorn_artifacts.copying import copy_content, digest_of
from runicorn_artifacts.lookup import ARTIFACTS

POOL = ".dedup"

_DIGEST = re.compile(r"[0-9a-f]{64}")
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV, errno.ENOSYS)
_ATTEMPTS = 100


class ContentStore(Protocol):
    """Keeps content by digest. The engines: a pool of files, none at all; object storage may follow."""

    def place(self, copy: Path, sha256: str, size: int, target: Path) -> None:
        """Make `target`, a new file, hold this content. `copy` is a finished copy of it, which is used up."""
        ...

    def has(self, sha256: str, size: int) -> bool:
        """Whether a content of this size is kept; whether it is sound shows when it is taken."""
        ...

    def take(self, sha256: str, size: int, target: Path) -> bool:
        """Make `target`, a new file, hold a content that is kept; False if it is not kept any more, or damaged."""
        ...

    def contents(self) -> Iterator[tuple[str, int]]:
        """Digest and size of everything that is kept."""
        ...

    def remove(self, sha256: str) -> int:
        """Forget a content; its size, 0 if it was not kept."""
        ...


class Separate:
    """No pool: every version has files of its own."""

    def place(self, copy: Path, sha256: str, size: int, target: Path) -> None:
        """See `ContentStore`."""
        os.rename(copy, target)

    def has(self, sha256: str, size: int) -> bool:
        """See `ContentStore`."""
        return False

    def take(self, sha256: str, size: int, target: Path) -> bool:
        """See `ContentStore`."""
        return False

    def contents(self) -> Iterator[tuple[str, int]]:
        """See `ContentStore`."""
        return iter(())

    def remove(self, sha256: str) -> int:
        """See `ContentStore`."""
        return 0


class FilePool:
    """`artifacts/.dedup/<first 2 hex digits>/<64 hex digits>`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, sha256: str) -> Path:
        """The file of a content; it need not exist."""
        return self.directory / sha256[:2] / sha256

    def place(self, copy: Path, sha256: str, size: int, target: Path) -> None:
        """See `ContentStore`. What the pool has is verified before it is used, and replaced by the copy if damaged."""
        pooled = self.path(sha256)
        for _ in range(_ATTEMPTS):
            is_good = self._is_good(pooled, sha256, size)
            if not is_good:
                if not self._put(copy, pooled, replace=is_good is False):
                    continue  # somebody put it in, or removed it, in this moment: look again
                os.rename(copy, target)
                return
            try:
                is_linked = _link(pooled, target)
            except FileNotFoundError:
                continue  # a cleanup was faster: put our own in
            if is_linked:
                os.unlink(copy)
            else:
                os.rename(copy, target)
            return
        raise OSError(errno.EAGAIN, "the pool of contents changes too fast")

    def has(self, sha256: str, size: int) -> bool:
        """See `ContentStore`."""
        try:
            return os.lstat(self.path(sha256)).st_size == size
        except OSError:
            return False

    def take(self, sha256: str, size: int, target: Path) -> bool:
        """See `ContentStore`. What is taken is verified."""
        pooled = self.path(sha256)
        if not self._is_good(pooled, sha256, size):
            return False
        try:
            link_or_copy(pooled, target)
        except FileNotFoundError:  # removed in this moment
            return False
        return True

    def contents(self) -> Iterator[tuple[str, int]]:
        """See `ContentStore`."""
        for prefix in _names(self.directory):
            yield from self._contents_of(self.directory / prefix)

    def remove(self, sha256: str) -> int:
        """See `ContentStore`."""
        path = self.path(sha256)
        try:
            size = os.lstat(path).st_size
            os.unlink(path)
        except FileNotFoundError:
            return 0
        with contextlib.suppress(OSError):  # not empty, or used again in this moment
            os.rmdir(path.parent)
        return size

    def _contents_of(self, folder: Path) -> Iterator[tuple[str, int]]:
        try:
            with os.scandir(folder) as entries:
                found = [entry for entry in entries if _DIGEST.fullmatch(entry.name)]
        except OSError:
            return
        for entry in found:
            with contextlib.suppress(FileNotFoundError):
                yield entry.name, entry.stat(follow_symlinks=False).st_size

    def _is_good(self, pooled: Path, sha256: str, size: int) -> bool | None:
        """Whether the pool's file holds what its name says; None if there is none."""
        try:
            return os.lstat(pooled).st_size == size and digest_of(pooled) == (sha256, size)
        except FileNotFoundError:
            return None
        except OSError:  # unreadable: as good as damaged
            return False

    def _put(self, copy: Path, pooled: Path, *, replace: bool) -> bool:
        """Make the pool's file the same as `copy`, which stays; with `replace` in place of a damaged one."""
        pooled.parent.mkdir(parents=True, exist_ok=True)
        try:
            if not replace and _link(copy, pooled):
                return True
            other = copy.with_name(f"{copy.name}.pool")
            link_or_copy(copy, other)
            os.replace(other, pooled)
        except (FileNotFoundError, FileExistsError):
            return False
        return True


def pool_of(root: Path) -> FilePool:
    """The pool of a storage root."""
    return FilePool(root / ARTIFACTS / POOL)


def link_or_copy(source: Path, target: Path) -> None:
    """Make `target`, a new file, the same as `source`, or a copy of it where there are no links."""
    if not _link(source, target):
        copy_content(source, target, mode=os.stat(source).st_mode & 0o777)


def _link(source: Path, target: Path) -> bool:
    """Whether a hard link could be made. FileNotFoundError if there is no such source."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno in _NO_LINKS:
            return False
        raise
    return True


def _names(path: Path) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []
