"""File systems that no machine has: what an SFTP server says that does not mean well, or is very slow."""

from __future__ import annotations

import stat
from collections.abc import Callable
from typing import Any

import paramiko
from paramiko.sftp import SFTP_EOF, SFTP_NO_SUCH_FILE

ROOT = "/data"


class Entry:
    """A file; `content` is asked for each read, and `size` for each look."""

    def __init__(
        self,
        content: bytes | Callable[[int, int], bytes] = b"",
        *,
        size: int | Callable[[], int] | None = None,
        mode: int = stat.S_IFREG | 0o644,
        target: str | None = None,
    ) -> None:
        self._content = content
        self._size = size
        self.mode = mode
        self.target = target

    def read(self, offset: int, length: int) -> bytes:
        if callable(self._content):
            return self._content(offset, length)
        return self._content[offset : offset + length]

    def attributes(self, name: str = "") -> paramiko.SFTPAttributes:
        found = paramiko.SFTPAttributes()
        size = self._size() if callable(self._size) else self._size
        found.st_size = size if size is not None else len(self._content) if isinstance(self._content, bytes) else 0
        found.st_mode, found.st_mtime, found.st_atime = self.mode, 1736868645, 1736868645
        found.filename = name
        return found


DIRECTORY = stat.S_IFDIR | 0o755


def serving(tree: dict[str, dict[str, Entry]]) -> type[paramiko.SFTPServerInterface]:
    """An SFTP server that lists, below `/data`, the entries of each directory under whatever names they have.

    Paths are not normalised: `/data/../x` is the entry `x` of the directory `/data/..`.
    """

    class Files(paramiko.SFTPServerInterface):
        def list_folder(self, path: str) -> Any:
            found = tree.get(path.rstrip("/"))
            if found is None:
                return SFTP_NO_SUCH_FILE
            return [entry.attributes(name) for name, entry in found.items()]

        def stat(self, path: str) -> Any:
            entry = self._entry(path)
            return SFTP_NO_SUCH_FILE if entry is None else entry.attributes()

        lstat = stat

        def canonicalize(self, path: str) -> str:
            entry = self._entry(path)
            return entry.target if entry is not None and entry.target is not None else path

        def open(self, path: str, flags: int, attr: paramiko.SFTPAttributes) -> Any:
            entry = self._entry(path)
            if entry is None:
                return SFTP_NO_SUCH_FILE

            class Handle(paramiko.SFTPHandle):
                def read(self, offset: int, length: int) -> Any:
                    return entry.read(offset, length) or SFTP_EOF

                def stat(self) -> Any:
                    return entry.attributes()

            return Handle(flags)

        def _entry(self, path: str) -> Entry | None:
            path = path.rstrip("/")
            if path in tree:
                return Entry(mode=DIRECTORY)
            directory, _, name = path.rpartition("/")
            return tree.get(directory, {}).get(name)

    return Files
