"""The file log: every stream of one storage root.

| stream   | name                            | file                                              |
|----------|---------------------------------|---------------------------------------------------|
| run      | `<project>/<name>/runs/<id>`    | `<root>/<name of the stream>/events.jsonl`        |
| artifact | `artifacts/<type>/<name>`       | `<root>/<name of the stream>/events.jsonl`        |
| store    | `.runicorn/log/<segment>`       | `<root>/.runicorn/log/<segment>.jsonl`            |
| store    | `@state/log/<segment>`          | `<state>/log/<segment>.jsonl` (read-only root)    |

An event exists once its line ends in a newline: reading stops before a torn tail and continues there later. Offsets are
bytes from the start of the stream; their meaning never changes. Nothing outside `runicorn.events` knows about files.
"""

from __future__ import annotations

import contextlib
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from stat import S_ISREG
from typing import Literal

import msgspec

from runicorn.config import INTERNAL
from runicorn.events.discovery import EVENTS_FILE, find_artifacts, find_runs, is_run_key
from runicorn.events.envelope import Event, Lines, decode_event
from runicorn.files import lock_descriptor, open_to_read

StreamKind = Literal["run", "artifact", "store"]

READ_BYTES = 1 << 20
"""Default size of one read: large enough to decode at full speed, small enough for constant memory."""

_SCAN_BYTES = 64 << 10
_SLICE_BYTES = 8 << 20  # read and summed in about 10 ms
_MAX_LINE_BYTES = (
    64 << 20
)  # a longer line is skipped unread, so that a reader's memory is bounded whatever a file holds
_SEGMENT = re.compile(r"[0-9]+\.jsonl")
_ROOT_LOG = f"{INTERNAL}/log/"
_STATE_LOG = "@state/log/"


class Stream(msgspec.Struct, frozen=True):
    """One stream of events. Names are unique over all kinds."""

    kind: StreamKind
    name: str

    @classmethod
    def named(cls, name: str) -> Stream:
        """The stream of that name; the name tells the kind."""
        if name.startswith((_ROOT_LOG, _STATE_LOG)):
            return cls("store", name)
        return cls("run" if is_run_key(name) else "artifact", name)


class LocatedEvent(msgspec.Struct, frozen=True):
    """An event with its identity, `(stream, offset)`."""

    stream: Stream
    offset: int
    event: Event


class Position(msgspec.Struct, frozen=True):
    """How far a stream reaches now. Two equal positions mean: nothing new."""

    size: int
    """Bytes, a torn tail included."""
    inode: int
    modified_ns: int
    """Time of the last change: a file made anew may get the inode, and even the size, of the one that was removed."""


class StreamReplaced(Exception):
    """What was read up to the given offset is no longer what the stream holds: forget it and read again from 0."""


class FileLog:
    """Reads the streams of `root`; `state_dir` holds the store stream when the root is read-only."""

    def __init__(self, root: Path, state_dir: Path) -> None:
        self.root = root
        self.state_dir = state_dir
        self._root = os.fspath(root)
        self._summed: dict[Stream, tuple[Position, dict[int, tuple[int, int]]]] = {}

    def streams(self) -> Iterator[Stream]:
        """Every stream that exists now; the store stream first, so that deletions are known before runs."""
        return (stream for stream, _ in self.sized_streams())

    def sized_streams(self) -> Iterator[tuple[Stream, int]]:
        """The same, each with the number of bytes that it had when it was found."""
        for stream in chain(self.store_streams(), self.artifact_streams()):
            position = self.position(stream)
            yield stream, 0 if position is None else position.size
        for run in find_runs(self.root, foreign=True):
            stream = Stream("run", run.key)
            try:
                yield stream, os.stat(self.path(stream)).st_size
            except OSError:
                continue

    def size(self) -> int:
        """Bytes of all streams."""
        return sum(size for _, size in self.sized_streams())

    def artifact_streams(self) -> Iterator[Stream]:
        """The streams of all artifacts."""
        for key in find_artifacts(self.root):
            if os.path.exists(self.root / key / EVENTS_FILE):
                yield Stream("artifact", key)

    def store_streams(self) -> Iterator[Stream]:
        """The segments of the store stream, oldest first."""
        for directory, prefix in zip(self.store_directories(), (_ROOT_LOG, _STATE_LOG), strict=True):
            for segment in segments(directory):
                yield Stream("store", prefix + segment.stem)

    def store_directories(self) -> tuple[Path, Path]:
        """Where segments of the store stream can be: in the root, and in the state directory. For this package only."""
        return self.root / INTERNAL / "log", self.state_dir / "log"

    def path(self, stream: Stream) -> str:
        """The file of a stream; it need not exist. For this package only."""
        # A string: joining `Path`s took a fifth of the time of a replay of many short runs.
        if stream.kind != "store":
            return f"{self._root}/{stream.name}/{EVENTS_FILE}"
        if stream.name.startswith(_STATE_LOG):
            return os.fspath(self.state_dir / "log" / f"{stream.name.removeprefix(_STATE_LOG)}.jsonl")
        return f"{self._root}/{stream.name}.jsonl"

    def position(self, stream: Stream) -> Position | None:
        """How far the stream reaches, by one `stat`; None if it does not exist, is not a file, or cannot be reached."""
        try:
            stat = os.stat(self.path(stream))
        except OSError:
            return None
        return Position(stat.st_size, stat.st_ino, stat.st_mtime_ns) if S_ISREG(stat.st_mode) else None

    def is_gone(self, stream: Stream) -> bool:
        """Whether the stream certainly does not exist. False also where that cannot be known: no permission, an I/O error."""
        try:
            return not S_ISREG(os.stat(self.path(stream)).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            return False

    def is_at_rest(self, stream: Stream, size: int) -> bool:
        """Whether nobody is in the middle of appending to a stream of so many bytes: a torn line will not be completed."""
        path = self.path(stream)
        lock = f"{path.removesuffix(EVENTS_FILE)}.lock" if stream.kind == "artifact" else f"{path}.lock"
        try:
            descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            descriptor = None  # nobody who takes locks was ever here
        try:
            if descriptor is not None:
                lock_descriptor(descriptor, timeout_s=0)
            return os.stat(path).st_size == size
        except OSError:  # LockTimeout is one
            return False
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def complete_end(self, stream: Stream) -> int:
        """The offset behind the last complete line: where the next event will begin. 0 if there is none."""
        with contextlib.suppress(OSError), open_to_read(self.path(stream)) as file:
            end = os.fstat(file.fileno()).st_size
            while end > 0:
                start = max(0, end - _SCAN_BYTES)
                file.seek(start)
                newline = file.read(end - start).rfind(b"\n")
                if newline >= 0:
                    return start + newline + 1
                end = start
        return 0

    def checksum(self, stream: Stream, end: int, *, after: int = 0, before: int = 0) -> int:
        """The CRC-32 of the first `end` bytes, or of all if there are fewer. OSError if they cannot be read.

        Bytes up to `after` are not read if `before` is their CRC-32.
        """
        checksum = before
        with open_to_read(self.path(stream)) as file:
            file.seek(after)
            while end > after and (data := file.read(min(READ_BYTES, end - after))):
                checksum = zlib.crc32(data, checksum)
                after += len(data)
        return checksum

    def checksum_in_slices(self, stream: Stream, end: int, position: Position) -> int | None:
        """Like `checksum`, of a stream that reaches to `position`; None until it was called often enough.

        Each call reads a slice, so that others come in between. It begins again where the position is another one; what it
        has so far is kept until `end_slices`.
        """
        summed = self._summed.get(stream)
        if summed is None or summed[0] != position:
            summed = self._summed[stream] = position, {}
        after, before = summed[1].get(end, (0, 0))
        reached = min(end, after + _SLICE_BYTES)
        checksum = self.checksum(stream, reached, after=after, before=before)
        summed[1][end] = reached, checksum
        return checksum if reached == end else None

    def end_slices(self, stream: Stream) -> None:
        """Forget what `checksum_in_slices` has so far."""
        self._summed.pop(stream, None)

    def line_start(self, stream: Stream, offset: int) -> int:
        """The offset of the first line that begins at or after `offset`; 0 for 0. OSError if it cannot be read."""
        if offset <= 0:
            return 0
        with open_to_read(self.path(stream)) as file:
            file.seek(offset - 1)
            file.readline()
            return file.tell()

    def read(self, stream: Stream, *, after: int = 0, head: bytes = b"", limit: int = READ_BYTES) -> Lines:
        """Complete lines from the offset `after`; no more than about `limit` bytes, unless one line is longer.

        The result is empty (`end == after`) when nothing complete follows. `head` is what the reader saw at the start of
        the stream: StreamReplaced if the stream is shorter than `after` or begins otherwise; OSError if it cannot be read.
        """
        return self.read_level(stream, after=after, head=head, limit=limit)[0]

    def read_range(self, stream: Stream, start: int, end: int, *, at_once: int = READ_BYTES) -> Iterator[LocatedEvent]:
        """The events between two offsets where lines begin; fewer, or none, if the stream is no longer what it was.

        About `at_once` bytes of it are in memory.
        """
        while start < end:
            try:
                lines = self.read(stream, after=start, limit=min(at_once, end - start))
            except (OSError, StreamReplaced):
                return
            if lines.end == start:
                return
            for offset, event in zip(lines.offsets, lines.events, strict=True):
                if offset >= end:  # it was read with a long line before it
                    return
                yield LocatedEvent(stream, offset, event)
            start = lines.end

    def read_lines(self, stream: Stream, offsets: Iterable[int], *, limit: int = READ_BYTES) -> Iterator[Event | None]:
        """The event that begins at each offset, whatever its time; None where none does any more, or only one of more bytes.

        OSError if the stream cannot be read.
        """
        with open_to_read(self.path(stream)) as file:
            for offset in offsets:
                file.seek(offset)
                line = file.readline(limit)
                try:
                    yield decode_event(line) if line.endswith(b"\n") else None
                except ValueError:
                    yield None

    def line_pieces(self, stream: Stream, offset: int) -> Iterator[bytes]:
        """The line that begins at `offset` as it is in the file, without its newline, in pieces of at most 1 MiB.

        A last line that has no newline ends with the file. OSError if it cannot be read.
        """
        with open_to_read(self.path(stream)) as file:
            file.seek(offset)
            while piece := file.readline(READ_BYTES):
                yield piece.removesuffix(b"\n")
                if piece.endswith(b"\n"):
                    return

    def read_level(
        self, stream: Stream, *, after: int = 0, head: bytes = b"", limit: int = READ_BYTES
    ) -> tuple[Lines, Position | None]:
        """Like `read`, with the position of the very file that was read, if nothing complete is left in it; else None."""
        lines, position, is_level = self.read_part(stream, after=after, head=head, limit=limit)
        return lines, position if is_level else None

    def read_part(
        self, stream: Stream, *, after: int = 0, head: bytes = b"", limit: int = READ_BYTES
    ) -> tuple[Lines, Position, bool]:
        """Like `read`, with the position of the very file that was read, and whether nothing complete is left in it."""
        # Without O_NONBLOCK, opening a named pipe that lies in a stream's place would wait for a writer.
        descriptor = os.open(self.path(stream), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            position = self._as_read(stream, os.fstat(descriptor))
            if position.size < after:
                raise StreamReplaced(stream.name)
            if after:
                if head and os.pread(descriptor, len(head), 0) != head:
                    raise StreamReplaced(stream.name)
                if os.pread(descriptor, 1, after - 1) != b"\n":
                    raise StreamReplaced(stream.name)
                os.lseek(descriptor, after, os.SEEK_SET)
            left = position.size - after
            data = _read_up_to(descriptor, min(limit, left))
            while (cut := data.rfind(b"\n") + 1) == 0 and len(data) < left:
                if len(data) >= _MAX_LINE_BYTES:
                    end, checksum = _end_of_line(descriptor, position.size, zlib.crc32(data))
                    lines = Lines(b"", after) if end is None else Lines.too_long(after, end, checksum)
                    return lines, position, end is None
                more = _read_up_to(descriptor, min(max(limit, len(data)), left - len(data)))
                if not more:
                    break
                data += more
            lines = Lines(data[:cut] if cut < len(data) else data, after)
            return lines, position, len(data) == left
        finally:
            os.close(descriptor)

    def _as_read(self, stream: Stream, stat: os.stat_result) -> Position:
        """How far a file that is being read reaches."""
        return Position(stat.st_size, stat.st_ino, stat.st_mtime_ns)


def segments(directory: Path) -> list[Path]:
    """The segment files of a store stream, oldest first; empty if there are none."""
    try:
        names = [name for name in os.listdir(directory) if _SEGMENT.fullmatch(name)]
    except OSError:
        return []
    return [directory / name for name in sorted(names)]


def _end_of_line(descriptor: int, size: int, checksum: int) -> tuple[int | None, int]:
    """The offset behind the next newline, from where the file was read to, and the CRC-32 up to there; None if there is
    none before `size`.
    """
    position = os.lseek(descriptor, 0, os.SEEK_CUR)
    while position < size and (data := _read_up_to(descriptor, min(READ_BYTES, size - position))):
        end = data.find(b"\n") + 1
        checksum = zlib.crc32(data[:end] if end else data, checksum)
        if end:
            return position + end, checksum
        position += len(data)
    return None, checksum


def _read_up_to(descriptor: int, length: int) -> bytes:
    data = os.read(descriptor, length)
    while len(data) < length:
        more = os.read(descriptor, length - len(data))
        if not more:
            break
        data += more
    return data
