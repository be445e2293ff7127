"""Checking the streams of a store: which lines are not events, which payloads do not fit their type.

Nothing here is repaired and nothing is hidden: readers skip exactly what is listed here, and apply everything around it.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from runicorn.events.envelope import Event, InvalidPayload, Lines, Payload, decode_payload
from runicorn.events.log import FileLog, Stream, StreamReplaced
from runicorn.events.odd_lines import OddLines
from runicorn.events.problems import LOST_SEGMENT, NEXT_APPEND, PASSED_OVER, PERMISSIONS, QUARANTINE, Problem

_LOOKED_AT = 1 << 16  # bytes of a line that is no event: enough to say why
_LOOKS = 20
_LOOK_EVERY_S = 0.05
_FIELDS = (b'"ts"', b'"type"', b'"data"')


def verify_stream(log: FileLog, stream: Stream, types: Mapping[str, type[Payload]]) -> Iterator[Problem | int]:
    """The problems of one stream, and between them the number of bytes checked since the last one, for progress.

    A last line without its newline is listed, too: it is not an event yet, or never became one.
    """
    position = log.position(stream)
    if position is None and not log.is_gone(stream):
        yield Problem(stream.name, None, "cannot be reached", PERMISSIONS)
    if position is None:
        return  # what lies there is no file; that is said of the directory
    odd = OddLines(stream, types)
    offset = 0
    looks = 0
    while True:
        try:
            lines, end = log.read_level(stream, after=offset)
        except (OSError, StreamReplaced) as error:
            reason = getattr(error, "strerror", None) or "replaced"
            yield Problem(stream.name, offset, f"cannot be read: {reason}", PERMISSIONS)
            return
        yield from _in_lines(stream, lines, types, odd)
        yield lines.end - offset
        offset = lines.end
        if end is not None:
            if end.size <= offset:
                break
            if looks == _LOOKS or log.is_at_rest(stream, end.size):
                reason = f"torn: the last line has no newline, after {end.size - offset} bytes"
                yield Problem(stream.name, offset, reason, NEXT_APPEND, is_line=True)
                break
            looks += 1
            time.sleep(_LOOK_EVERY_S)
    if offset == 0 and position.size == 0:
        yield Problem(stream.name, None, "empty: nothing was ever appended", is_remark=True)
    yield from odd.remarks()


def verify_segments(log: FileLog) -> Iterator[Problem]:
    """What is wrong with the store stream as a whole: segments that are missing, files that are none."""
    numbers: dict[str, list[int]] = {}
    for stream in log.store_streams():
        prefix, _, number = stream.name.rpartition("/")
        numbers.setdefault(prefix, []).append(int(number))
        if log.position(stream) is None:
            yield Problem(stream.name, None, "no file that can be read", LOST_SEGMENT)
    for prefix, found in sorted(numbers.items()):
        for first, last in _gaps(found):
            named = f"{prefix}/{first:08d}"
            reason = "the segment is missing"
            if first < last:
                reason = f"{last - first + 1} segments are missing, up to {last:08d}"
            yield Problem(named, None, reason, LOST_SEGMENT)
        for number, count in sorted(Counter(found).items()):
            if count > 1:
                yield Problem(
                    f"{prefix}/{number:08d}", None, f"there are {count} segments with this number", is_remark=True
                )


def _gaps(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """The first and the last number of each gap below the greatest one."""
    for before, after in pairwise([0, *sorted(set(numbers))]):
        if after > before + 1:
            yield before + 1, after - 1


def _in_lines(stream: Stream, lines: Lines, types: Mapping[str, type[Payload]], odd: OddLines) -> Iterator[Problem]:
    for bad in lines.bad:
        reason = _why(bad.reason, _line(lines, bad.offset)[:_LOOKED_AT])
        yield Problem(stream.name, bad.offset, reason, QUARANTINE, is_line=True)
    odd.read(lines)
    may_repeat = _may_repeat(lines)
    kinds = {event.type for event in lines.events}
    if not may_repeat and "" not in kinds and kinds.isdisjoint(types) and not any(e.ts != e.ts for e in lines.events):
        return  # most of a log are metrics
    for start, event in zip(lines.offsets, lines.events, strict=True):
        reasons = list(_in_event(start, event, types, odd))
        if may_repeat or event.type in types:
            reasons += _repeated(_line(lines, start) if may_repeat else bytes(event.data))
        if reasons:
            yield Problem(stream.name, start, "; ".join(reasons), PASSED_OVER, is_line=True)


def _in_event(start: int, event: Event, types: Mapping[str, type[Payload]], odd: OddLines) -> Iterator[str]:
    if event.ts != event.ts:
        yield "no usable ts"
    if not event.type:
        yield "no type"
    if event.type in types:
        try:
            payload = decode_payload(event, types[event.type])
        except InvalidPayload as error:
            yield str(error)
        else:
            odd.payload(start, event, payload)


def _line(lines: Lines, offset: int) -> bytes:
    """A line as it is in the file; empty if it was too long to be read."""
    start = offset - lines.start
    return lines.data[start : lines.data.find(b"\n", start)]


def _may_repeat(lines: Lines) -> bool:
    """Whether a field of an envelope may be there twice; a cheap first look at many lines."""
    return any(lines.data.count(name) > len(lines.events) for name in _FIELDS)


def _repeated(text: bytes) -> list[str]:
    """Fields that an object has twice, of which the last counts; on any level."""
    found: list[str] = []

    def look(pairs: list[tuple[str, Any]]) -> None:
        found.extend(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)

    try:
        json.loads(text, object_pairs_hook=look)
    except (ValueError, RecursionError):
        return []  # the tolerant reader has its own way
    return [f"the field {name!r} is there twice, the last one counts" for name in found]


def _why(reason: str, raw: bytes) -> str:
    """More about a line that is no event, where its bytes tell."""
    if reason == "too long":
        return "too long: a line of more than 64 MiB is not read"
    if reason != "not JSON":
        return reason
    if b"\0" in raw:
        return "not JSON: it holds NUL bytes, as a machine leaves them that lost its power"
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        if len(raw) < _LOOKED_AT:
            return "not JSON: bytes that are no UTF-8"
        text = raw.decode("utf-8", "ignore")
    try:
        end = json.JSONDecoder().raw_decode(text.strip())[1]
    except ValueError:
        is_cut = text.startswith("{") and not text.rstrip().endswith("}")
        return "not JSON: the end of the line is missing" if is_cut else reason
    except RecursionError:
        return reason
    return "not JSON: something follows the event" if end < len(text.strip()) else reason
