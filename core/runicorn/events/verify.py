"""Checking a store: which lines are not events, which payloads do not fit their type, which files are damaged.

Nothing here is repaired and nothing is hidden: readers skip exactly what is listed here, and apply everything around it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from runicorn.events.discovery import find_artifacts, find_runs, subdirectories
from runicorn.events.envelope import InvalidPayload, Payload, decode_payload
from runicorn.events.log import FileLog, Stream, StreamReplaced
from runicorn.files import parse_json

_VERSION = re.compile(r"v[1-9][0-9]*", re.ASCII)


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong. `offset` is where in the stream; None where a whole file is damaged."""

    stream: str
    offset: int | None
    reason: str


def verify_stream(log: FileLog, stream: Stream, types: Mapping[str, type[Payload]]) -> Iterator[Problem | int]:
    """The problems of one stream, and between them the number of bytes checked since the last one, for progress.

    A last line without its newline is listed, too: it is not an event yet, or never became one.
    """
    offset = 0
    while True:
        try:
            lines = log.read(stream, after=offset)
        except (OSError, StreamReplaced) as error:
            yield Problem(stream.name, offset, f"cannot be read: {getattr(error, 'strerror', None) or 'replaced'}")
            return
        yield from (Problem(stream.name, bad.offset, bad.reason) for bad in lines.bad)
        for start, event in zip(lines.offsets, lines.events, strict=True):
            if event.ts != event.ts:
                yield Problem(stream.name, start, "no usable ts")
            if not event.type:
                yield Problem(stream.name, start, "no type")
            if event.type in types:
                try:
                    decode_payload(event, types[event.type])
                except InvalidPayload as error:
                    yield Problem(stream.name, start, str(error))
        if lines.end == offset:
            break
        yield lines.end - offset
        offset = lines.end
    position = log.position(stream)
    if position is not None and position.size > offset:
        yield Problem(stream.name, offset, "torn: the last line has no newline")


def verify_run_files(root: Path, files: frozenset[str]) -> Iterator[Problem]:
    """The files of run directories, out of `files`, that are not JSON objects. The stream is the path below the root."""
    for run in find_runs(root):
        try:
            present = files.intersection(os.listdir(root / run.key))
        except OSError as error:
            yield Problem(run.key, None, f"cannot be read: {error.strerror}")
            continue
        for name in sorted(present):
            reason = _damage(root / run.key / name)
            if reason is not None:
                yield Problem(f"{run.key}/{name}", None, reason)


def verify_artifact_files(root: Path) -> Iterator[Problem]:
    """The files of artifacts that are absent or no JSON objects: the index, and metadata and manifest of each version."""
    for key in find_artifacts(root):
        versions = sorted(name for name in subdirectories(root / key) if _VERSION.fullmatch(name))
        if not versions and not os.path.lexists(root / key / "versions.json"):
            continue  # an empty folder is no artifact
        names = ["versions.json", *(f"{v}/{file}" for v in versions for file in ("metadata.json", "manifest.json"))]
        for name in names:
            reason = _damage(root / key / name)
            if reason is not None:
                yield Problem(f"{key}/{name}", None, reason)


def _damage(path: Path) -> str | None:
    try:
        data = path.read_bytes()
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if not data.strip():
        return "empty"
    try:
        value = parse_json(data)
    except ValueError:
        return "not JSON"
    return None if isinstance(value, dict) else "not a JSON object"
