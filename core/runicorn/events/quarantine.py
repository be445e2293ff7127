"""The quarantine: copies of lines that are no use, and the word of whoever copied them that this is known.

The log itself is never edited. A line counts as quarantined as long as the very same bytes are at the same place of the same
stream; a torn last line stays quarantined when the next append ends it. ADR 14 says why.

Files are `<root>/.runicorn/quarantine/<number>.jsonl`, or `<state>/quarantine/…` where the root cannot be written. They are
made whole or not at all, and never change. Each line is a JSON object:

| field            | content                                                                            |
|------------------|------------------------------------------------------------------------------------|
| `stream`         | name of the stream                                                                 |
| `offset`         | where the line begins in it, in bytes                                              |
| `content`        | base64 of the line without its newline; of a long one the first 1 MiB              |
| `length`         | bytes of the whole line                                                            |
| `sha256`         | of the whole line, in hex                                                          |
| `reason`         | what is wrong with it                                                              |
| `quarantined_at` | Unix seconds                                                                       |

What follows 1 MiB of a long line is in lines before it, which have `stream`, `offset`, `from` (in the line) and `content`.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import re
import time
from collections.abc import Generator
from pathlib import Path
from typing import BinaryIO

import msgspec

from runicorn.config import INTERNAL
from runicorn.errors import StorageUnavailable, Unavailable
from runicorn.events.log import FileLog, Stream
from runicorn.files import TEMPORARY, LockTimeout, file_lock, replacing_file, sync_directory

_FILE = re.compile(r"([0-9]+)\.jsonl")
_DIRECTORY = "quarantine"


class _Record(msgspec.Struct, frozen=True):
    stream: str
    offset: int
    length: int
    sha256: str
    reason: str
    quarantined_at: float
    content: str


class _Known(msgspec.Struct, frozen=True):
    stream: str
    offset: int
    sha256: str | None = None


class Quarantine:
    """What is known of a store's quarantine."""

    def __init__(self, log: FileLog) -> None:
        self._log = log
        self._directories = (log.root / INTERNAL / _DIRECTORY, log.state_dir / _DIRECTORY)
        self._known: dict[tuple[str, int], set[str]] = {}
        for directory in self._directories:
            for path in _files(directory):
                self._read(path)

    def holds(self, stream: Stream, offset: int) -> bool:
        """Whether the line that begins there now is quarantined, byte for byte."""
        known = self._known.get((stream.name, offset))
        if not known:
            return False
        digest = hashlib.sha256()
        try:
            for piece in self._log.line_pieces(stream, offset):
                digest.update(piece)
        except OSError:
            return False
        return digest.hexdigest() in known

    @contextlib.contextmanager
    def adding(self) -> Generator[Adding]:
        """Add lines; they are quarantined when the context is left, all of them, or none if an exception leaves it.

        Unavailable if somebody else is at it, StorageUnavailable if it cannot be written.
        """
        directory = self._writable()
        try:
            with file_lock(directory / "lock", timeout_s=0):
                for leftover in directory.glob(f"*{TEMPORARY}"):  # of one that was killed
                    leftover.unlink(missing_ok=True)
                number = max((int(path.stem) for path in _files(directory)), default=0) + 1
                yield from _written(self._log, directory / f"{number:08d}.jsonl")
        except LockTimeout:
            raise Unavailable("Somebody else is repairing this store just now.") from None
        except OSError as error:
            raise StorageUnavailable(f"The quarantine cannot be written: {error.strerror}") from error

    def _writable(self) -> Path:
        for directory in self._directories:
            with contextlib.suppress(OSError):
                directory.mkdir(parents=True, exist_ok=True)
            if directory.is_dir() and os.access(directory, os.W_OK):
                return directory
        raise StorageUnavailable("Neither the root nor the state directory can be written: nothing is quarantined.")

    def _read(self, path: Path) -> None:
        with contextlib.suppress(OSError), path.open("rb") as file:
            for line in file:
                with contextlib.suppress(msgspec.DecodeError):  # whoever edits it loses what it says
                    known = msgspec.json.decode(line, type=_Known)
                    if known.sha256 is not None:
                        self._known.setdefault((known.stream, known.offset), set()).add(known.sha256)


class Adding:
    """Writes one file of the quarantine."""

    def __init__(self, log: FileLog, file: BinaryIO) -> None:
        self.count = 0
        self._log = log
        self._file = file

    def add(self, stream: Stream, offset: int, reason: str) -> None:
        """Copy the line that begins there. OSError if it cannot be read."""
        digest, length, first = hashlib.sha256(), 0, b""
        for piece in self._log.line_pieces(stream, offset):
            if not length:
                first = piece
            else:
                self._write({"stream": stream.name, "offset": offset, "from": length, "content": _base64(piece)})
            digest.update(piece)
            length += len(piece)
        self._write(_Record(stream.name, offset, length, digest.hexdigest(), reason, time.time(), _base64(first)))
        self.count += 1

    def _write(self, record: object) -> None:
        self._file.write(msgspec.json.encode(record) + b"\n")


class _Nothing(Exception):
    """No line was added: no file is made."""


def _written(log: FileLog, path: Path) -> Generator[Adding]:
    with contextlib.suppress(_Nothing):
        with replacing_file(path) as file:
            adding = Adding(log, file)
            yield adding
            if not adding.count:
                raise _Nothing
            file.flush()
            os.fsync(file.fileno())
        sync_directory(path.parent)


def _files(directory: Path) -> list[Path]:
    try:
        return sorted(directory / name for name in os.listdir(directory) if _FILE.fullmatch(name))
    except OSError:
        return []


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
