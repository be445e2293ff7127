"""What an export needs to know about a run, read from its directory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import msgspec

from runicorn.events.discovery import RunDirectory
from runicorn.events.envelope import Event, decode_data
from runicorn.events.log import FileLog, Stream
from runicorn.events.past import PastLog
from runicorn.events.run import METRICS
from runicorn.export.text import as_float
from runicorn.fields import number
from runicorn.files import read_json_object
from runicorn.run_files import META_FILE, STATUS_FILE, SUMMARY_FILE

_READ_BYTES = 128 << 10  # decoded at once, in about a millisecond: in a server others want the interpreter, too

_NO_METRICS = frozenset({"time", "global_step", "step"})


class LoggedMetrics:
    """The metrics events of a run in file order, as the user's keys plus `global_step`, `time` and `stage`.

    May be iterated any number of times; what is appended after the object was made does not appear. Lines that are no
    events and events without an object in `data` are left out. Memory is that of one read.
    """

    def __init__(self, run_dir: Path, until: float | None = None) -> None:
        base = run_dir.parent
        self._log = FileLog(base, base) if until is None else PastLog(base, base, until)
        self._stream = Stream("run", run_dir.name)
        position = self._log.position(self._stream)
        self.exists = position is not None
        """Whether the run has an event file at all."""
        self._size = position.size if position is not None else 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """OSError if the file cannot be read; StreamReplaced if it is exchanged during the iteration."""
        offset, head = 0, b""
        while offset < self._size:
            limit = min(_READ_BYTES, self._size - offset)
            lines = self._log.read(self._stream, after=offset, head=head, limit=limit)
            if not offset < lines.end <= self._size:
                return  # a last line that was not complete when the object was made
            if not offset:
                head = lines.head
            yield from _data_of([event for event in lines.events if event.type == METRICS])
            offset = lines.end


def _data_of(events: list[Event]) -> Iterator[dict[str, Any]]:
    """The data of events, where it is an object. Flat objects, as nearly all are, are decoded together."""
    joined = b"[%b]" % b",".join([event.data for event in events])
    if joined.count(b"{") == len(events) and joined.count(b"[") == 1:
        try:
            yield from _decode_objects(joined)
            return
        except (msgspec.DecodeError, UnicodeDecodeError):  # not strict JSON: one by one, then
            pass
    for event in events:
        data: object = decode_data(event)
        if isinstance(data, dict):
            yield cast(dict[str, Any], data)


_decode_objects = msgspec.json.Decoder(list[dict[str, Any]]).decode


def numbers_in(data: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The metrics of one event that are numbers, booleans as 1.0 and 0.0; its time and step are no metrics."""
    for key, value in data.items():
        if isinstance(value, (int, float)) and key not in _NO_METRICS:
            yield key, as_float(value)


def step_of(data: Mapping[str, Any], index: int) -> float:
    """The step of one event; without one, `index`, its position among the events."""
    step = number(data.get("global_step", data.get("step")))
    return index if step is None else step


class ExportedRun(msgspec.Struct, frozen=True):
    """One run. A side file that does not exist is None, a damaged one is empty."""

    meta: dict[str, Any] | None
    status: dict[str, Any] | None
    summary: dict[str, Any] | None
    metrics: LoggedMetrics

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing at all to tell about the run."""
        return self.meta is None and self.status is None and self.summary is None and not self.metrics.exists


def open_run(
    run_dir: str | os.PathLike[str], *, place: RunDirectory | None = None, until: float | None = None
) -> ExportedRun:
    """The run in a directory, as it is now.

    `place` is where it is in its storage root: project, name and id are those that lists show. `until` leaves metrics of
    later events out; side files have no history.
    """
    directory = Path(os.path.abspath(run_dir))

    def side_file(name: str) -> dict[str, Any] | None:
        path = directory / name
        return (read_json_object(path) or {}) if path.exists() else None

    meta = side_file(META_FILE)
    if meta is not None and place is not None:
        project, name = place.names(meta.get("project"), meta.get("name"))
        meta = {**meta, "project": project, "name": name, "id": place.run_id}
    return ExportedRun(meta, side_file(STATUS_FILE), side_file(SUMMARY_FILE), LoggedMetrics(directory, until))
