"""A version as a zip file that is made while it is sent: memory does not grow with its content."""

from __future__ import annotations

import os
import stat
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

from runicorn_artifacts.manifest import FileEntry

_CHUNK_BYTES = 256 << 10
_FIRST_YEAR, _LAST_YEAR = 1980, 2107  # what the format can say

Open = Callable[[FileEntry], BinaryIO]


class _Pipe:
    """What the zip file is written to; it cannot be sought in."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._written.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def taken(self) -> bytes:
        """What was written since the last call."""
        data = b"".join(self._written)
        self._written.clear()
        return data


def zip_pieces(entries: Sequence[FileEntry], open_file: Open, *, deflate: bool = False) -> Iterator[bytes]:
    """The bytes of the zip file. OSError in the middle of it, if a file cannot be read to its end.

    Contents are stored as they are, or deflated. Executable files remain executable.
    """
    pipe = _Pipe()
    method = zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED
    with zipfile.ZipFile(pipe, "w", method, allowZip64=True) as archive:  # type: ignore[arg-type]  # write and flush do
        for entry in entries:
            with (
                open_file(entry) as file,
                archive.open(_header(entry, file, method), "w", force_zip64=entry.size >= 1 << 30) as target,
            ):
                while chunk := file.read(_CHUNK_BYTES):
                    target.write(chunk)
                    yield pipe.taken()
            yield pipe.taken()
    yield pipe.taken()


def _header(entry: FileEntry, file: BinaryIO, method: int) -> zipfile.ZipInfo:
    header = zipfile.ZipInfo(entry.path, _date(entry.modified_at))
    header.compress_type = method
    header.file_size = entry.size
    is_executable = os.fstat(file.fileno()).st_mode & stat.S_IXUSR
    header.external_attr = (stat.S_IFREG | (0o755 if is_executable else 0o644)) << 16
    return header


def _date(modified_at: float | None) -> tuple[int, int, int, int, int, int]:
    try:
        found = time.localtime(modified_at)
    except (OverflowError, ValueError, OSError):
        found = time.localtime()
    if not _FIRST_YEAR <= found.tm_year <= _LAST_YEAR:
        return _FIRST_YEAR, 1, 1, 0, 0, 0
    return found.tm_year, found.tm_mon, found.tm_mday, found.tm_hour, found.tm_min, found.tm_sec
