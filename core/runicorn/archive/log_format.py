"""The log as one file: JSON lines with the streams as they are between them, compressed with zstandard.

    {"format": "runicorn-log", "version": 1, "created_at": 1736869000.0}
    {"stream": "p/n/runs/a", "bytes": 1234}       then exactly so many bytes of the stream
    {"sha256": "…"}                                of these bytes, in hex
    …                                              more streams
    {"streams": 1, "bytes": 1234}                  the end: without it something is missing

Written and read from the front to the back in constant memory. `zstd -dc` shows it.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, TypeVar, cast

import msgspec
import zstandard

from runicorn.archive.errors import UnusableArchive

FORMAT = "runicorn-log"
VERSION = 1

_LEVEL = 3
_MAX_WINDOW = 1 << 26
_MAX_HEADER = 16 << 10
_PIECE = 256 << 10

T = TypeVar("T", bound=msgspec.Struct)


class Head(msgspec.Struct, frozen=True):
    """The first line."""

    format: str
    version: int
    created_at: float


class StreamHead(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Before a stream."""

    stream: str
    bytes: int


class StreamEnd(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """After a stream."""

    sha256: str


class End(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The last line."""

    streams: int
    bytes: int


class LogWriter:
    """Writes such a file. Leave `open` in order, or the file lacks its end."""

    def __init__(self, target: BinaryIO) -> None:
        self._target = target
        self.streams = 0
        self.bytes = 0

    @classmethod
    @contextmanager
    def open(cls, file: BinaryIO, created_at: float) -> Generator[LogWriter]:
        """Begin a file, and end it."""
        with zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).stream_writer(file, closefd=False) as packed:
            writer = cls(cast(BinaryIO, packed))
            writer._line(Head(FORMAT, VERSION, created_at))
            yield writer
            writer._line(End(writer.streams, writer.bytes))

    def add(self, stream: str, size: int, content: BinaryIO, tick: Callable[[int], None]) -> None:
        """The first `size` bytes of `content`. EOFError if there are fewer."""
        self._line(StreamHead(stream, size))
        digest = hashlib.sha256()
        left = size
        while left:
            piece = content.read(min(_PIECE, left))
            if not piece:
                raise EOFError
            digest.update(piece)
            self._target.write(piece)
            left -= len(piece)
            tick(len(piece))
        self._line(StreamEnd(digest.hexdigest()))
        self.streams += 1
        self.bytes += size

    def _line(self, value: msgspec.Struct) -> None:
        self._target.write(msgspec.json.encode(value) + b"\n")


class PackedStream:
    """One stream while it is read: its pieces have to be taken, all of them."""

    def __init__(self, head: StreamHead, file: BinaryIO) -> None:
        self.name = head.stream
        self.size = head.bytes
        self._file = file

    def pieces(self) -> Iterator[bytes]:
        """The bytes of the stream. UnusableArchive if they are not those that were written."""
        digest = hashlib.sha256()
        left = self.size
        while left:
            piece = self._file.read(min(_PIECE, left))
            if not piece:
                raise UnusableArchive("truncated or damaged")
            digest.update(piece)
            left -= len(piece)
            yield piece
        if _decoded(_line_of(self._file), StreamEnd).sha256 != digest.hexdigest():
            raise UnusableArchive("truncated or damaged")


def packed_streams(file: BinaryIO) -> Iterator[PackedStream]:
    """The streams of such a file in turn. UnusableArchive if it is none, or damaged."""
    try:
        yield from _packed_streams(file)
    except (zstandard.ZstdError, MemoryError) as error:
        raise UnusableArchive("truncated or damaged") from error


def _packed_streams(file: BinaryIO) -> Iterator[PackedStream]:
    start = file.read(len(zstandard.FRAME_HEADER))
    file.seek(-len(start), io.SEEK_CUR)
    if start and start != zstandard.FRAME_HEADER:
        raise UnusableArchive("not an exported log")
    unpacker = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW)
    reader = cast(BinaryIO, io.BufferedReader(cast(Any, unpacker.stream_reader(file)), _PIECE))
    first = _line_of(reader)
    if not first:
        raise UnusableArchive("empty file")
    try:
        head = msgspec.json.decode(first, type=Head)
    except msgspec.DecodeError as error:
        raise UnusableArchive("not an exported log") from error
    if (head.format, head.version) != (FORMAT, VERSION):
        raise UnusableArchive("not an exported log")
    streams = size = 0
    while True:
        line = _line_of(reader)
        try:
            found = msgspec.json.decode(line, type=StreamHead)
        except msgspec.DecodeError:
            break
        if found.bytes < 0:
            raise UnusableArchive("truncated or damaged")
        yield PackedStream(found, reader)
        streams, size = streams + 1, size + found.bytes
    if _decoded(line, End) != End(streams, size) or reader.read(1):
        raise UnusableArchive("truncated or damaged")


def _line_of(file: BinaryIO) -> bytes:
    return file.readline(_MAX_HEADER)


def _decoded(line: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(line, type=kind)
    except msgspec.DecodeError as error:
        raise UnusableArchive("truncated or damaged") from error
