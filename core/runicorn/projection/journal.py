"""The journal of commits: which parts of the log became visible, in which order, as far back as a few megabytes reach.

Live clients resume from a *position*, `(epoch, number)`: the log up to that commit. Numbers count up within an epoch; a new
epoch begins where the order cannot be continued: after the read models were built, and after a projector that was killed
between a commit and its line here. A client with a position of another epoch, or of a line that is gone, reads everything
anew. Positions therefore outlive the server, and all API workers share them.

    <state>/feed/epoch.json        the current epoch
    <state>/feed/<epoch>.jsonl     one line for each commit: [number, [[stream, start, end], …]]
    <state>/feed/<epoch>.old.jsonl the lines before those

`null` as the last line says that the projector ended in order; it is never synced, as a lost line only costs an epoch.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from runicorn.files import read_json_object, write_json
from runicorn.projection.wire import News, Range

logger = logging.getLogger("runicorn.projection")

MAX_BYTES = 2 << 20
"""Size at which the current file becomes the old one."""

_DIRECTORY = "feed"
_EPOCH = "epoch.json"
_CLOSED = b"null\n"
_OPENED = b"0\n"

_decode = msgspec.json.Decoder(tuple[int, list[Range]]).decode
_encode = msgspec.json.Encoder().encode


class Journal:
    """The writing end, held by the projector. Where the state directory cannot be written, positions end with the process.

    While read models are being built there are no positions, until `begin` is called.
    """

    def __init__(self, state_dir: Path, *, is_building: bool = False, max_bytes: int = MAX_BYTES) -> None:
        self._directory = state_dir / _DIRECTORY
        self._max_bytes = max_bytes
        self._file: int | None = None
        self._size = 0
        self.epoch = ""
        self.number = 0
        """Of the last commit."""
        if is_building:
            with contextlib.suppress(OSError):
                (self._directory / _EPOCH).unlink()
        elif not self._go_on():
            self.begin()

    def begin(self) -> None:
        """Begin a new epoch: no earlier position can be continued."""
        self._let_go()
        self.epoch, self.number = os.urandom(6).hex(), 0
        try:
            self._directory.mkdir(exist_ok=True)
            for name in os.listdir(self._directory):
                if name.endswith(".jsonl"):
                    (self._directory / name).unlink(missing_ok=True)
            self._open()
            write_json(self._directory / _EPOCH, {"epoch": self.epoch})
        except OSError as error:
            logger.warning("live clients cannot resume after a restart: %s", error.strerror)
            self._let_go()

    def record(self, ranges: Sequence[Range]) -> News:
        """Write down one commit, before anybody is told of it."""
        self.number += 1
        if self._file is not None:
            line = _encode((self.number, ranges)) + b"\n"
            try:
                self._size += os.write(self._file, line)
                if self._size >= self._max_bytes:
                    self._rotate()
            except OSError as error:
                logger.warning("live clients cannot resume after a restart: %s", error.strerror)
                self._let_go()
        return News(self.epoch, self.number, list(ranges))

    def where(self) -> News | None:
        """The current position, as news of nothing; None if there is none yet."""
        return News(self.epoch, self.number) if self.epoch else None

    def close(self) -> None:
        """Say that nothing was committed after the last line."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.write(self._file, _CLOSED)
            self._let_go()

    def _go_on(self) -> bool:
        """Continue the epoch of a predecessor that ended in order."""
        epoch = _epoch(self._directory)
        if epoch is None:
            return False
        try:
            data = (self._directory / f"{epoch}.jsonl").read_bytes()
            if not data.endswith(_CLOSED):
                return False
            known = _parse(data)
            with contextlib.suppress(FileNotFoundError):
                known = known or _parse((self._directory / f"{epoch}.old.jsonl").read_bytes())
            self.epoch, self.number = epoch, known[-1][0] if known else 0
            self._open()
        except OSError:
            return False
        return True

    def _open(self) -> None:
        path = self._directory / f"{self.epoch}.jsonl"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        os.write(self._file, _OPENED)
        self._size = os.fstat(self._file).st_size

    def _rotate(self) -> None:
        current = self._directory / f"{self.epoch}.jsonl"
        self._let_go()
        os.replace(current, self._directory / f"{self.epoch}.old.jsonl")
        self._open()

    def _let_go(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def recorded(state_dir: Path) -> tuple[str, list[News]] | None:
    """The current epoch, and its commits as far back as the journal reaches, without a gap; None if there is no journal."""
    directory = state_dir / _DIRECTORY
    epoch = _epoch(directory)
    if epoch is None:
        return None
    lines: list[tuple[int, list[Range]]] = []
    for name in (f"{epoch}.old.jsonl", f"{epoch}.jsonl"):
        with contextlib.suppress(OSError):
            for line in _parse((directory / name).read_bytes()):
                if lines and line[0] != lines[-1][0] + 1:
                    lines.clear()  # the files changed places between the two reads
                lines.append(line)
    return epoch, [News(epoch, number, ranges) for number, ranges in lines]


def _parse(data: bytes) -> list[tuple[int, list[Range]]]:
    lines: list[tuple[int, list[Range]]] = []
    for line in data.split(b"\n")[:-1]:
        if line.startswith(b"["):
            with contextlib.suppress(msgspec.DecodeError):
                lines.append(_decode(line))
    return lines


def _epoch(directory: Path) -> str | None:
    epoch = (read_json_object(directory / _EPOCH) or {}).get("epoch")
    return epoch if isinstance(epoch, str) and epoch.isalnum() else None
