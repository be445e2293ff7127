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
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from runicorn.config import INTERNAL
from runicorn.events.discovery import EVENTS_FILE, find_artifacts, find_runs, is_run_key
from runicorn.events.envelope import Lines

StreamKind = Literal["run", "artifact", "store"]

READ_BYTES = 1 << 20
"""Default size of one read: large enough to decode at full speed, small enough for constant memory."""

_SCAN_BYTES = 64 << 10
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


class Position(msgspec.Struct, frozen=True):
    """How far a stream reaches now. Two equal positions mean: nothing new."""

    size: int
    """Bytes, a torn tail included."""
    inode: int


class StreamReplaced(Exception):
    """What was read up to the given offset is no longer what the stream holds: forget it and read again from 0."""


class FileLog:
    """Reads the streams of `root`; `state_dir` holds the store stream when the root is read-only."""

    def __init__(self, root: Path, state_dir: Path) -> None:
        self.root = root
        self.state_dir = state_dir
        self._root = os.fspath(root)

    def streams(self) -> Iterator[Stream]:
        """Every stream that exists now; the store stream first, so that deletions are known before runs."""
        yield from self.store_streams()
        for key in find_artifacts(self.root):
            if os.path.exists(self.root / key / EVENTS_FILE):
                yield Stream("artifact", key)
        for run in find_runs(self.root):
            if os.path.exists(self.root / run.key / EVENTS_FILE):
                yield Stream("run", run.key)

    def store_streams(self) -> Iterator[Stream]:
        """The segments of the store stream, oldest first."""
        for directory, prefix in (
            (self.root / INTERNAL / "log", _ROOT_LOG),
            (self.state_dir / "log", _STATE_LOG),
        ):
            for segment in segments(directory):
                yield Stream("store", prefix + segment.stem)

    def path(self, stream: Stream) -> str:
        """The file of a stream; it need not exist. For this package only."""
        # A string: joining `Path`s took a fifth of the time of a replay of many short runs.
        if stream.kind != "store":
            return f"{self._root}/{stream.name}/{EVENTS_FILE}"
        if stream.name.startswith(_STATE_LOG):
            return os.fspath(self.state_dir / "log" / f"{stream.name.removeprefix(_STATE_LOG)}.jsonl")
        return f"{self._root}/{stream.name}.jsonl"

    def position(self, stream: Stream) -> Position | None:
        """How far the stream reaches, by one `stat`; None if it does not exist (or is not a file)."""
        try:
            stat = os.stat(self.path(stream))
        except OSError:
            return None
        return Position(stat.st_size, stat.st_ino)

    def complete_end(self, stream: Stream) -> int:
        """The offset behind the last complete line: where the next event will begin. 0 if there is none."""
        with contextlib.suppress(OSError), open(self.path(stream), "rb", buffering=0) as file:
            end = os.fstat(file.fileno()).st_size
            while end > 0:
                start = max(0, end - _SCAN_BYTES)
                file.seek(start)
                newline = _read_up_to(file.fileno(), end - start).rfind(b"\n")
                if newline >= 0:
                    return start + newline + 1
                end = start
        return 0

    def line_start(self, stream: Stream, offset: int) -> int:
        """The offset of the first line that begins at or after `offset`; 0 for 0. OSError if it cannot be read."""
        if offset <= 0:
            return 0
        with open(self.path(stream), "rb") as file:
            file.seek(offset - 1)
            file.readline()
            return file.tell()

    def read(self, stream: Stream, *, after: int = 0, head: bytes = b"", limit: int = READ_BYTES) -> Lines:
        """Complete lines from the offset `after`; no more than about `limit` bytes, unless one line is longer.

        The result is empty (`end == after`) when nothing complete follows. `head` is what the reader saw at the start of
        the stream: StreamReplaced if the stream is shorter than `after` or begins otherwise; OSError if it cannot be read.
        """
        with open(self.path(stream), "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size < after:
                raise StreamReplaced(stream.name)
            if after:
                if head and file.read(len(head)) != head:
                    raise StreamReplaced(stream.name)
                file.seek(after - 1)
                if file.read(1) != b"\n":
                    raise StreamReplaced(stream.name)
            data = _read_up_to(file.fileno(), min(limit, size - after))
            while (cut := data.rfind(b"\n") + 1) == 0 and len(data) < size - after:
                more = _read_up_to(file.fileno(), min(max(limit, len(data)), size - after - len(data)))
                if not more:
                    break
                data += more
            return Lines(data[:cut] if cut < len(data) else data, after)


def segments(directory: Path) -> list[Path]:
    """The segment files of a store stream, oldest first; empty if there are none."""
    try:
        names = [name for name in os.listdir(directory) if name.endswith(".jsonl") and name[:-6].isdigit()]
    except OSError:
        return []
    return [directory / name for name in sorted(names)]


def _read_up_to(descriptor: int, length: int) -> bytes:
    data = os.read(descriptor, length)
    while len(data) < length:
        more = os.read(descriptor, length - len(data))
        if not more:
            break
        data += more
    return data
