"""How far read models are behind the log, cheap enough to ask every few seconds while a large store is built."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from runicorn.events.log import FileLog, Stream, StreamReplaced

MEASURED_STREAMS = 1000  # a stat each: some milliseconds
_SAMPLE_BYTES = 128 << 10  # decoded in one or two milliseconds


class Lag(msgspec.Struct, frozen=True):
    """What is in the log, but not in the read models. `events` is exact for little, and estimated for much."""

    bytes: int
    events: int


def measure(log: FileLog, streams: Sequence[Stream], count: int, committed_end: Callable[[Stream], int]) -> Lag:
    """The lag of `count` streams, of which `streams` are some: what is found there counts for the others, too."""
    size = sampled_bytes = sampled_events = 0
    for stream in streams:
        position = log.position(stream)
        if position is None:
            continue  # it is gone: forgetting it is work, but not reading
        end = committed_end(stream)
        if position.size < end:
            end = 0  # it was replaced, and is read from its start
        size += position.size - end
        if sampled_bytes < _SAMPLE_BYTES:
            try:
                lines = log.read(stream, after=end, limit=_SAMPLE_BYTES - sampled_bytes)
            except (OSError, StreamReplaced):
                continue
            sampled_bytes += lines.end - lines.start
            sampled_events += len(lines.events)
    share = count / len(streams) if streams else 0.0
    events = sampled_events if sampled_bytes >= size else round(size * sampled_events / max(sampled_bytes, 1))
    return Lag(round(size * share), round(events * share))
