"""Exporting the log: the streams of a store in one file, byte for byte, while servers and trainers go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import BinaryIO

import msgspec

from runicorn.archive.exporting import NotReadable
from runicorn.archive.log_format import LogWriter
from runicorn.archive.places import is_importable, is_safe
from runicorn.events.discovery import MIRRORS, is_artifact_key
from runicorn.events.log import FileLog, Stream
from runicorn.files import open_to_read


class ExportedLog(msgspec.Struct, frozen=True):
    """What the file of an exported log holds."""

    streams: int
    bytes: int
    """Of all streams, unpacked."""
    not_importable: list[str]
    """Streams whose names an import refuses."""


def streams_to_export(log: FileLog, runs: Iterable[str] = ()) -> list[Stream]:
    """The streams of the log, by name, or those of some runs, by id or key. Without those of mirrors, which bring them."""
    chosen = frozenset(runs)
    return sorted(
        (
            stream
            for stream in log.streams()
            if not stream.name.startswith(f"{MIRRORS}/")
            and (not chosen or (stream.kind == "run" and not chosen.isdisjoint(_names(stream))))
        ),
        key=lambda stream: stream.name,
    )


def export_log(
    log: FileLog, streams: Iterable[Stream], file: BinaryIO, tick: Callable[[int], None] = lambda count: None
) -> ExportedLog:
    """Write the streams as far as each reaches when its turn comes. Constant memory. NotReadable if one cannot be read."""
    refused: list[str] = []
    with LogWriter.open(file, time.time()) as writer:
        for stream in streams:
            position = log.position(stream)
            if position is None:
                if not log.is_gone(stream):
                    raise NotReadable(stream.name)
                continue
            try:
                with open_to_read(log.path(stream)) as content:
                    writer.add(stream.name, position.size, content, tick)
            except (OSError, EOFError) as error:
                raise NotReadable(stream.name) from error
            if not is_importable_stream(stream.name):
                refused.append(stream.name)
    return ExportedLog(writer.streams, writer.bytes, refused)


def is_importable_stream(name: str) -> bool:
    """Whether an import takes a stream of this name."""
    stream = Stream.named(name)
    if stream.kind == "store":
        number = name.rpartition("/")[2]
        return name.count("/") == 2 and number.isascii() and number.isdigit() and is_safe(name)
    return is_importable(name) if stream.kind == "run" else is_safe(name) and is_artifact_key(name)


def _names(stream: Stream) -> tuple[str, str]:
    return stream.name, stream.name.rpartition("/")[2]
