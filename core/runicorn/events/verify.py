"""Checking the streams of a store: which lines are not events, which payloads do not fit their type.

Nothing here is repaired and nothing is hidden: readers skip exactly what is listed here, and apply everything around it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from runicorn.events.envelope import InvalidPayload, Payload, decode_payload
from runicorn.events.log import FileLog, Stream, StreamReplaced
from runicorn.events.problems import Problem


def verify_stream(log: FileLog, stream: Stream, types: Mapping[str, type[Payload]]) -> Iterator[Problem | int]:
    """The problems of one stream, and between them the number of bytes checked since the last one, for progress.

    A last line without its newline is listed, too: it is not an event yet, or never became one.
    """
    if log.position(stream) is None and not log.is_gone(stream):
        yield Problem(stream.name, None, "cannot be reached")
    if log.position(stream) is None:
        return  # what lies there is no file; that is said of the directory
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
