"""The stream of one artifact, `<root>/artifacts/<type>/<name>/events.jsonl`: appended under the artifact's lock.

Whoever changes an artifact (SDK, server, command line) holds that lock, so the order of the lines is the order of the
changes, and the stream needs no lock of its own.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import BinaryIO

from runicorn.events.actor import signed
from runicorn.events.append import StreamWriter
from runicorn.events.discovery import EVENTS_FILE
from runicorn.events.envelope import Event, Payload, decode_event, encode_event
from runicorn.files import LockTimeout, lock_descriptor, open_to_read

ARTIFACT_LOCK_FILE = ".lock"
"""In an artifact's folder; whoever changes the artifact holds its lock, 0.4.0 included."""

_BLOCK_BYTES = 64 << 10


@contextlib.contextmanager
def look_at_artifact(folder: Path) -> Generator[bool]:
    """Keep everybody from changing an artifact for a moment; False if somebody is at it, who is not waited for.

    Creates nothing: where there is no lock file, nobody who takes locks has changed the artifact yet.
    """
    try:
        descriptor = os.open(folder / ARTIFACT_LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield True
        return
    try:
        try:
            lock_descriptor(descriptor, timeout_s=0)
        except LockTimeout:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def append_artifact_events(folder: Path, *payloads: Payload, ts: float | None = None) -> None:
    """Append events about the artifact in `folder` with one write and fsync. The caller holds the artifact's lock.

    `ts` is when they became true (default: now). OSError if nothing was recorded.
    """
    ts = time.time() if ts is None else ts
    lines = b"".join(encode_event(ts, payload.event_type, signed(payload)) for payload in payloads)
    writer = StreamWriter(folder / EVENTS_FILE, is_locked=True)
    try:
        writer.append(lines, fsync=True)
    finally:
        writer.close()


def read_artifact_events(folder: Path, event_type: str, *, newest_first: bool = False) -> Iterator[Event]:
    """The events of one type about the artifact in `folder`, in order; none if it has no stream that can be read.

    With `newest_first` the stream is read from its end, and no further than events are taken.
    """
    mark = event_type.encode()
    try:
        with open_to_read(folder / EVENTS_FILE) as file:
            for line in _lines_backwards(file) if newest_first else file:
                # Most lines are of another type: those are not worth decoding.
                if mark not in line or not line.endswith(b"\n"):
                    continue
                try:
                    event = decode_event(line)
                except ValueError:
                    continue
                if event is not None and event.type == event_type:
                    yield event
    except OSError:
        return


def _lines_backwards(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file as iterating it gives them, but the last one first."""
    begin, size, rest = file.seek(0, os.SEEK_END), _BLOCK_BYTES, b""
    while begin > 0:
        size = min(begin, size)
        begin -= size
        file.seek(begin)
        data = file.read(size) + rest
        first = (data.find(b"\n") + 1 or len(data)) if begin else 0  # the first line may begin before this block
        rest = data[:first]
        *lines, torn = data[first:].split(b"\n")
        if torn:
            yield torn
        for line in reversed(lines):
            yield line + b"\n"
        size *= 2  # one line may be longer
