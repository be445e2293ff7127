"""Reading many streams as one: the last events of a store, and then everything that is appended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import merge

import msgspec

from runicorn.events.envelope import Event
from runicorn.events.log import FileLog, Position, Stream, StreamReplaced

_TAIL_BYTES = 64 << 10
_POLL_S = 0.1
_DISCOVER_S = 1.0


class Located(msgspec.Struct, frozen=True):
    """An event with its identity."""

    stream: Stream
    offset: int
    event: Event


def last_events(log: FileLog, streams: Sequence[Stream], count: int) -> list[Located]:
    """The last `count` events of the given streams, by time. Only the end of each stream is read.

    Within a stream the order is that of its lines: what was observed in files may carry times of long ago.
    """
    ordered = merge(*(_timed(_end_of(log, stream, count)) for stream in streams), key=lambda pair: pair[0])
    return [located for _, located in ordered][-count:] if count else []


def follow(
    log: FileLog, choose: Callable[[], Sequence[Stream]], *, stop: Callable[[], bool] = lambda: False
) -> Iterator[Located]:
    """Every event appended from now on to the streams that `choose` gives (asked again each second), as it appears.

    A truncated or replaced stream is followed from its new start. Ends when `stop` says so; it is asked ten times a second.
    """
    positions: dict[Stream, Position | None] = {}
    offsets: dict[Stream, int] = {}
    next_discovery = 0.0
    is_first = True
    while not stop():
        now = time.monotonic()
        if now >= next_discovery:
            next_discovery = now + _DISCOVER_S
            for stream in choose():
                if stream not in positions:
                    position = log.position(stream) if is_first else None
                    positions[stream] = position
                    offsets[stream] = 0 if position is None else log.complete_end(stream)
            is_first = False
        for stream, before in list(positions.items()):
            position = log.position(stream)
            if position == before or position is None:
                continue
            if before is not None and (position.inode != before.inode or position.size < offsets[stream]):
                offsets[stream] = 0
            positions[stream] = position
            yield from _appended(log, stream, offsets)
        time.sleep(_POLL_S)


def _timed(events: Iterable[Located]) -> Iterator[tuple[float, Located]]:
    latest = 0.0
    for located in events:
        if located.event.ts > latest:
            latest = located.event.ts
        yield latest, located


def _appended(log: FileLog, stream: Stream, offsets: dict[Stream, int]) -> Iterator[Located]:
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
            yield Located(stream, offset, event)


def _end_of(log: FileLog, stream: Stream, count: int) -> Iterator[Located]:
    position = log.position(stream)
    if position is None:
        return
    window = _TAIL_BYTES
    while True:
        start = log.line_start(stream, max(0, position.size - window))
        try:
            lines = log.read(stream, after=start, limit=window * 2)
        except (OSError, StreamReplaced):
            return
        if len(lines.events) >= count or start == 0 or window > position.size:
            break
        window *= 4
    pairs = list(zip(lines.offsets, lines.events, strict=True))[-count:]
    yield from (Located(stream, offset, event) for offset, event in pairs)
