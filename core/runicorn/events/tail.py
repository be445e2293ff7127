"""Reading many streams as one: the last events of a store, and then everything that is appended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from heapq import merge

from runicorn.events.log import FileLog, LocatedEvent, Position, Stream, StreamReplaced

_TAIL_BYTES = 64 << 10
_POLL_S = 0.1
_DISCOVER_S = 1.0


def ends_of(log: FileLog, streams: Iterable[Stream]) -> dict[Stream, int]:
    """Where the next event of each stream will begin: `last_events` ends there, and `follow` begins there."""
    return {stream: log.complete_end(stream) for stream in streams}


def last_events(log: FileLog, ends: Mapping[Stream, int], count: int) -> list[LocatedEvent]:
    """The last `count` events before the given ends of streams, by time. Only the end of each stream is read.

    Within a stream the order is that of its lines: what was observed in files may carry times of long ago.
    """
    ordered = merge(
        *(_timed(_before(log, stream, end, count)) for stream, end in ends.items()), key=lambda pair: pair[0]
    )
    return [located for _, located in ordered][-count:] if count else []


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


def _timed(events: Iterable[LocatedEvent]) -> Iterator[tuple[float, LocatedEvent]]:
    latest = 0.0
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


def _before(log: FileLog, stream: Stream, end: int, count: int) -> Iterator[LocatedEvent]:
    window = _TAIL_BYTES
    while True:
        try:
            start = log.line_start(stream, max(0, end - window))
            lines = log.read(stream, after=start, limit=max(end - start, 1))
        except (OSError, StreamReplaced):
            return
        if len(lines.events) >= count or start == 0:
            break
        window *= 4
    pairs = [(offset, event) for offset, event in zip(lines.offsets, lines.events, strict=True) if offset < end]
    yield from (LocatedEvent(stream, offset, event) for offset, event in pairs[-count:])
