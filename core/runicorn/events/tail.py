"""Reading many streams as one: the last events of a store, and then everything that is appended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from heapq import merge
from itertools import islice

from runicorn.events.log import FileLog, LocatedEvent, Position, Stream, StreamReplaced

_TAIL_BYTES = 64 << 10
_READ_AHEAD_BYTES = 8 << 20  # of all streams; a stream has two stretches in memory
_LEAST_BYTES = 4 << 10
_POLL_S = 0.1
_DISCOVER_S = 1.0


def ends_of(log: FileLog, streams: Iterable[Stream]) -> dict[Stream, int]:
    """Where the next event of each stream will begin: `last_events` ends there, and `follow` begins there."""
    return {stream: log.complete_end(stream) for stream in streams}


def last_events(
    log: FileLog,
    ends: Mapping[Stream, int],
    count: int,
    wanted: Callable[[LocatedEvent], bool] = lambda _: True,
) -> list[LocatedEvent]:
    """The last `count` wanted events before the given ends of streams, by time; fewer only if there are no more.

    Streams are read from their ends as far as the oldest of these reaches, where there are fewer to their beginnings. Some
    16 MiB of them are in memory. Within a stream the order is that of its lines: what was observed in files may carry times
    of long ago.
    """
    window = min(max(_READ_AHEAD_BYTES // max(len(ends), 1), _LEAST_BYTES), _TAIL_BYTES)
    streams = reversed(list(ends.items()))  # at the same time, what is merged first is the last one in the end
    newest_first = merge(
        *(_backwards(log, stream, end, window) for stream, end in streams), key=lambda pair: pair[0], reverse=True
    )
    found = list(islice((located for _, located in newest_first if wanted(located)), count))
    return found[::-1]


def events_since(log: FileLog, ends: Mapping[Stream, int], start: float) -> Iterator[LocatedEvent]:
    """The events from `start` (Unix seconds) on that lie before the given ends of streams, by time.

    Of each stream only its end is read, back to the first stretch of 64 KiB without such an event; little is in memory.
    """
    found = (
        log.read_range(stream, _first_since(log, stream, end, start), end, at_once=_TAIL_BYTES)
        for stream, end in ends.items()
    )
    ordered = merge(*map(_timed, found), key=lambda pair: pair[0])
    return (located for _, located in ordered if located.event.ts >= start)


def follow(
    log: FileLog,
    ends: Mapping[Stream, int],
    choose: Callable[[], Iterable[Stream]],
    *,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[LocatedEvent]:
    """Every event behind the given ends of streams, as it appears, and all of the streams that appear later.

    `choose` gives the streams that exist; it is asked once per second, `stop` ten times. A truncated or replaced stream is
    followed from its new start.
    """
    offsets = dict(ends)
    positions: dict[Stream, Position | None] = dict.fromkeys(ends)
    next_discovery = 0.0
    while not stop():
        now = time.monotonic()
        if now >= next_discovery:
            next_discovery = now + _DISCOVER_S
            for stream in choose():
                if stream not in positions:
                    positions[stream], offsets[stream] = None, 0
        for stream, before in list(positions.items()):
            position = log.position(stream)
            if position == before or position is None:
                continue
            replaced = before is not None and position.inode != before.inode
            if replaced or position.size < offsets[stream]:
                offsets[stream] = 0
            positions[stream] = position
            yield from _appended(log, stream, offsets)
        time.sleep(_POLL_S)


def _timed(events: Iterable[LocatedEvent], latest: float = 0.0) -> Iterator[tuple[float, LocatedEvent]]:
    """Each with the latest time up to it."""
    for located in events:
        if located.event.ts > latest:
            latest = located.event.ts
        yield latest, located


def _appended(log: FileLog, stream: Stream, offsets: dict[Stream, int]) -> Iterator[LocatedEvent]:
    while True:
        try:
            lines = log.read(stream, after=offsets[stream])
        except StreamReplaced:
            if offsets[stream] == 0:
                return
            offsets[stream] = 0
            continue
        except OSError:
            return
        if lines.end == offsets[stream]:
            return
        offsets[stream] = lines.end
        for offset, event in zip(lines.offsets, lines.events, strict=True):
            yield LocatedEvent(stream, offset, event)


def _first_since(log: FileLog, stream: Stream, end: int, start: float) -> int:
    """An offset at or before the first event since `start`; `end` if there is none."""
    reached, window = end, _TAIL_BYTES
    while reached > 0:
        try:
            begin = log.line_start(stream, max(0, reached - window))
        except OSError:
            return end
        if begin >= reached:  # one line is longer than the window
            window *= 4
        elif any(located.event.ts >= start for located in log.read_range(stream, begin, reached)):
            reached = begin
        else:
            break
    return reached


def _backwards(log: FileLog, stream: Stream, end: int, window: int) -> Iterator[tuple[float, LocatedEvent]]:
    """The events before `end`, the last one first, timed as `_timed` does, which looks back one stretch of `window` bytes."""
    reached, later = end, list[LocatedEvent]()
    while reached > 0 or later:
        earlier, reached = _stretch(log, stream, reached, window)
        latest = max((ts for ts, _ in _timed(earlier)), default=0.0)
        yield from reversed(list(_timed(later, latest)))
        later = earlier


def _stretch(log: FileLog, stream: Stream, end: int, window: int) -> tuple[list[LocatedEvent], int]:
    """The events of about `window` bytes before `end`, and where these begin; 0 if nothing before can be read."""
    while end > 0:
        try:
            begin = log.line_start(stream, max(0, end - window))
        except OSError:
            break
        if begin < end:
            return list(log.read_range(stream, begin, end)), begin
        window *= 4  # one line is longer
    return [], 0
