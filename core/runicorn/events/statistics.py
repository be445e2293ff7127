"""What a log holds, counted: events and bytes by type and by stream."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable

import msgspec

from runicorn.events.log import FileLog, Stream, StreamReplaced

_DAY_S = 86_400.0


class Counted(msgspec.Struct):
    """Events and bytes of one type, or of one stream. Bytes are those of whole lines."""

    name: str
    events: int = 0
    bytes: int = 0


class LogStatistics(msgspec.Struct):
    """A log, or some of its streams."""

    streams: int
    events: int
    bytes: int
    bad: int
    """Lines that are no events."""
    first: float | None
    """The earliest time of an event, in Unix seconds; None without a usable one."""
    last: float | None
    events_per_day: float
    """On average between `first` and `last`; all events, where they are less than a day apart."""
    types: list[Counted]
    """The most bytes first."""
    largest: list[Counted]
    """The streams with the most bytes."""


def count(log: FileLog, streams: Iterable[Stream], largest: int, progress: Callable[[int], None]) -> LogStatistics:
    """Read these streams as they are now, some at a time. One that is replaced meanwhile counts as far as it was read."""
    types: dict[str, Counted] = {}
    by_stream: list[Counted] = []
    bad, first, last = 0, float("inf"), float("-inf")
    for stream in streams:
        counted = Counted(stream.name)
        by_stream.append(counted)
        while True:
            try:
                lines = log.read(stream, after=counted.bytes)
            except (OSError, StreamReplaced):
                break
            if lines.end == counted.bytes:
                break
            bad += len(lines.bad)
            counted.events += len(lines.events)
            # A line reaches to the next event: what is no event counts with the one before it.
            ends = [*lines.offsets, lines.end][1:]
            for start, end, event in zip(lines.offsets, ends, lines.events, strict=True):
                of_type = types.setdefault(event.type, Counted(event.type))
                of_type.events += 1
                of_type.bytes += end - start
                if event.ts == event.ts and 0 <= event.ts < float("inf"):
                    first, last = min(first, event.ts), max(last, event.ts)
            progress(lines.end - counted.bytes)
            counted.bytes = lines.end
    events = sum(stream.events for stream in by_stream)
    has_times = first <= last
    return LogStatistics(
        streams=len(by_stream),
        events=events,
        bytes=sum(stream.bytes for stream in by_stream),
        bad=bad,
        first=first if has_times else None,
        last=last if has_times else None,
        events_per_day=events * _DAY_S / max(_DAY_S, last - first) if has_times else 0.0,
        types=sorted(types.values(), key=lambda counted: (-counted.bytes, counted.name)),
        largest=heapq.nsmallest(largest, by_stream, key=lambda counted: (-counted.bytes, counted.name)),
    )
