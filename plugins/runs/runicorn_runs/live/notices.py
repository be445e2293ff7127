"""From commits to notices: what clients are told about the events that became visible.

An event is one notice, of whatever type; the metrics of a run are counted instead, and told as one notice for many.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, cast

import apsw
import msgspec

from runicorn.columns import step_of
from runicorn.plugin import (
    METRICS,
    Event,
    LocatedEvent,
    News,
    RunObserved,
    Stream,
    decode_data,
    dump_json,
    is_run_key,
    run_at,
)

RESET = "reset"
HELLO = "hello"
HEARTBEAT = "heartbeat"

_MAX_DATA_BYTES = 16 << 10
_METRICS_TAIL = 16  # events looked at, from the last one, for a usable step

Names = tuple[str | None, str | None]


class ReadsLog(Protocol):
    """Where the events of a part of a stream are read."""

    def read_range(self, stream: Stream, start: int, end: int) -> Iterator[LocatedEvent]:
        """The events between two offsets; none if the stream is no longer what it was."""
        ...


class Notice(msgspec.Struct):
    """One message to clients. `number` is that of the newest commit in it; `first` that of the oldest."""

    type: str
    first: int = 0
    number: int = 0
    position: str = ""
    """What the client says to go on from here: everything up to it has been told."""
    ts: float | None = None
    stream: str = ""
    run: str | None = None
    run_id: str | None = None
    project: str | None = None
    name: str | None = None
    events: int = 0
    """How many metrics events this notice stands for; 0 for other types."""
    step: int | None = None
    offset: int | None = None
    data: Any = None
    is_cut: bool = False
    """Whether `data` was too large to be sent along."""
    text_cache: str | None = None

    @property
    def is_for_all(self) -> bool:
        """Whether it is about the connection, and no filter concerns it."""
        return self.type in (RESET, HELLO, HEARTBEAT)

    @property
    def text(self) -> str:
        """The message as JSON."""
        if self.text_cache is None:
            self.text_cache = dump_json(self._fields()).decode()
        return self.text_cache

    def _fields(self) -> Mapping[str, Any]:
        if self.is_for_all:
            return {"id": self.position, "type": self.type}
        about = {"id": self.position, "type": self.type, "ts": self.ts, "stream": self.stream}
        if self.run is not None:
            about |= {"run": self.run, "run_id": self.run_id, "project": self.project, "name": self.name}
        if self.events:
            return about | {"events": self.events, "step": self.step}
        return about | {"offset": self.offset, "data": self.data} | ({"truncated": True} if self.is_cut else {})

    def joined(self, later: Notice) -> Notice:
        """This notice of metrics and a `later` one of the same run, as one."""
        return msgspec.structs.replace(
            later,
            first=min(self.first, later.first),
            events=self.events + later.events,
            step=self.step if later.step is None else later.step,
            text_cache=None,
        )


def notices_of(db: apsw.Connection | None, log: ReadsLog, news: Sequence[News]) -> list[Notice]:
    """What to tell about some commits, in the order of the log; the metrics of a run once. Blocks: for threads."""
    told = _Told()
    for commit in news:
        for name, start, end in commit.ranges:
            told.add(commit.number, log.read_range(Stream.named(name), start, end))
    notices = [notice for notice in told.notices if notice is not None]
    names: dict[str, Names] = {}
    for notice in notices:
        if notice.run is not None:
            if notice.run not in names:
                names[notice.run] = _names(db, notice.run)
            notice.run_id = notice.run.rpartition("/")[2]
            notice.project, notice.name = names[notice.run]
    return notices


class _Told:
    """Notices in the making. Those of metrics stand where the last events of their run are."""

    def __init__(self) -> None:
        self.notices: list[Notice | None] = []
        self._metrics: dict[str, int] = {}

    def add(self, number: int, located: Iterable[LocatedEvent]) -> None:
        """Tell about a part of one stream."""
        metrics: list[LocatedEvent] = []
        for one in located:
            if one.event.type == METRICS and one.stream.kind == "run":
                metrics.append(one)
            elif one.event.type:
                self._add_metrics(metrics, number)
                metrics.clear()
                self.notices.append(_of_event(one, number))
        self._add_metrics(metrics, number)

    def _add_metrics(self, metrics: Sequence[LocatedEvent], number: int) -> None:
        if not metrics:
            return
        found = _of_metrics(metrics, number)
        place = self._metrics.get(found.stream)
        if place is not None:
            earlier = self.notices[place]
            assert earlier is not None
            self.notices[place] = None
            found = earlier.joined(found)
        self._metrics[found.stream] = len(self.notices)
        self.notices.append(found)


def _of_metrics(metrics: Sequence[LocatedEvent], number: int) -> Notice:
    last = metrics[-1]
    return Notice(
        type=METRICS,
        first=number,
        number=number,
        ts=_time(last.event),
        stream=last.stream.name,
        run=last.stream.name,
        events=len(metrics),
        step=_last_step(metrics),
    )


def _of_event(one: LocatedEvent, number: int) -> Notice:
    data = _without_non_finite(decode_data(one.event))
    run = one.stream.name if one.stream.kind == "run" else None
    if one.stream.kind == "store" and isinstance(data, dict):
        named = cast(dict[str, Any], data).get("run")
        run = named if isinstance(named, str) and is_run_key(named) else None
    if one.event.type == RunObserved.event_type and isinstance(data, dict):
        # What 0.4.0 wrote into its files has absolute paths in it; read models hold what counts.
        content = cast(dict[str, Any], data).pop("content", None)
        data["exists"] = content is not None
    is_cut = len(bytes(one.event.data)) > _MAX_DATA_BYTES
    return Notice(
        type=one.event.type,
        first=number,
        number=number,
        ts=_time(one.event),
        stream=one.stream.name,
        run=run,
        offset=one.offset,
        data=None if is_cut else data,
        is_cut=is_cut,
    )


def _names(db: apsw.Connection | None, key: str) -> Names:
    rows = [] if db is None else db.execute("SELECT project, name FROM run WHERE key = ?", (key,)).fetchall()
    if rows:
        return cast(Names, rows[0])
    directory = run_at(key)
    return directory.project, directory.name


def _last_step(metrics: Sequence[LocatedEvent]) -> int | None:
    for one in reversed(metrics[-_METRICS_TAIL:]):
        data = decode_data(one.event)
        if isinstance(data, dict):
            fields = cast(dict[str, Any], data)
            step = step_of(fields["global_step"] if "global_step" in fields else fields.get("step"))
            if step is not None:
                return step
    return None


def _time(event: Event) -> float | None:
    return event.ts if math.isfinite(event.ts) else None


def _without_non_finite(value: Any) -> Any:
    """`value`, decoded from JSON, with null in place of NaN and the infinities."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _without_non_finite(item) for key, item in cast(dict[str, Any], value).items()}
    if isinstance(value, list):
        return [_without_non_finite(item) for item in cast(list[Any], value)]
    return value
