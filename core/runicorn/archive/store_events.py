"""What the store stream says about chosen runs: carried along in an archive, and recorded again where they are imported.

Any event counts whose data names the run's key in `run`, whatever its type: of our own plugins and of others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import ClassVar

import msgspec

from runicorn.archive.annotations import is_annotation
from runicorn.archive.events import RunImported
from runicorn.events.envelope import Event, Payload, decode_data, encode_event
from runicorn.events.log import FileLog, Stream
from runicorn.events.store import StoreStream

_FORMAT = 1
_EVENTS_PER_APPEND = 1000
_BYTES_PER_APPEND = 1 << 20

_OF_FILES = frozenset({"run.observed", "run.vanished"})
"""Types that repeat what files of a run said: where a run was known before, they are looked at anew instead."""


class ArchiveCreated(Payload, frozen=True, kw_only=True):
    """The first line of `runicorn.jsonl`."""

    event_type: ClassVar[str] = "archive.created"
    format: int
    runs: int
    version: str
    """Of the program that wrote it."""


class _Named(msgspec.Struct):
    run: str = ""


_decode_named = msgspec.json.Decoder(_Named).decode


def run_named_in(event: Event) -> str:
    """The key of the run that an event of the store stream is about; empty if it names none."""
    try:
        return _decode_named(event.data).run
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        data = decode_data(event)
        run: object = data.get("run") if isinstance(data, dict) else None
        return run if isinstance(run, str) else ""


def events_about(log: FileLog, keys: Collection[str]) -> Iterator[tuple[str, Event]]:
    """The events of the store stream about these runs, in recorded order, each with the run's key."""
    for stream in log.store_streams():
        for event in _all_events(log, stream):
            key = run_named_in(event)
            if key in keys:
                yield key, event


def encode_events(events: Iterable[Event], header: ArchiveCreated, ts: float) -> Iterator[bytes]:
    """The lines of `runicorn.jsonl`."""
    yield encode_event(ts, header.event_type, header)
    for event in events:
        yield encode_event(event.ts, event.type, event.data)


def header(runs: int, version: str) -> ArchiveCreated:
    """What the first line says."""
    return ArchiveCreated(format=_FORMAT, runs=runs, version=version)


class CarriedEvents:
    """The events in a `runicorn.jsonl` that was unpacked as `<directory>/events.jsonl`; none if there is no such file."""

    def __init__(self, directory: Path) -> None:
        self._log = FileLog(directory.parent, directory.parent)
        self._stream = Stream("run", directory.name)

    def about(self, keys: Collection[str]) -> Iterator[tuple[str, Event]]:
        """Those about these runs, in recorded order. What others the file speaks of is none of its business."""
        if self._log.position(self._stream) is None:
            return
        events = _all_events(self._log, self._stream)
        first = next(events, None)
        if first is None or first.type != ArchiveCreated.event_type:
            return
        for event in events:
            key = run_named_in(event)
            if key in keys and event.type:
                yield key, event


class Recorder:
    """Records events in a store stream, many at a time."""

    def __init__(self, log: FileLog) -> None:
        self._stream = StoreStream(log)
        self._waiting: list[tuple[float | None, str, object]] = []
        self._bytes = 0
        self.appended: Stream | None = None
        """The segment that the last events went to."""

    def carried(self, events: Iterable[tuple[str, Event]], known: Collection[str]) -> None:
        """Events that came with runs, as of when they happened.

        About runs that are `known` to this store already, what it recorded is later than the archive: there they count
        from now on, in their order, or they would change nothing.
        """
        for key, event in events:
            if key not in known:
                self._add(event.ts, event.type, event.data, len(bytes(event.data)))
            elif event.type not in _OF_FILES or is_annotation(event):
                self._add(None, event.type, event.data, len(bytes(event.data)))

    def imported(self, key: str, *, replaced: bool) -> None:
        """A run came out of an archive."""
        payload = RunImported(run=key, run_id=key.rpartition("/")[2], replaced=replaced)
        self._add(None, payload.event_type, payload, 100)

    def flush(self) -> None:
        """Have everything recorded. StorageUnavailable if that is not possible."""
        if self._waiting:
            self.appended = self._stream.append_raw(self._waiting)[0]
            self._waiting = []
            self._bytes = 0

    def _add(self, ts: float | None, kind: str, data: object, size: int) -> None:
        self._waiting.append((ts, kind, data))
        self._bytes += size
        if len(self._waiting) >= _EVENTS_PER_APPEND or self._bytes >= _BYTES_PER_APPEND:
            self.flush()


def _all_events(log: FileLog, stream: Stream) -> Iterator[Event]:
    offset = 0
    while (lines := log.read(stream, after=offset)).end > offset:
        yield from lines.events
        offset = lines.end
