"""One event is one line of JSON: `{"ts": float seconds, "type": "run.finished", "data": {…}}`.

Decoding has two steps: the envelope with `data` kept as raw bytes, then `data` by type. Unknown types are kept and
passed on. Stored lines may hold what strict JSON forbids (bare NaN, 1e400, huge integers, lone surrogates, a BOM,
invalid UTF-8): the fast decoder is tried first, then the tolerant reader of the contract, line by line.

The codec is used in the training process, so this module imports nothing heavier than msgspec.
"""

from __future__ import annotations

import math
import zlib
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any, ClassVar, TypeVar, cast

import msgspec

from runicorn.files import dump_json, may_nest_too_deeply, parse_json


class Event(msgspec.Struct, gc=False):
    """The envelope of one event. `data` is the JSON text of the payload, decoded on demand."""

    ts: float = math.nan
    """Unix seconds on the writer's clock; NaN where the line has no usable one."""
    type: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the typed payloads: what `data` means for one event type.

    Payloads grow by optional fields only; a field is never removed or retyped. Unknown fields are ignored.
    """

    event_type: ClassVar[str]
    """The `type` on the wire, `noun.verb-in-past`."""


P = TypeVar("P", bound=Payload)


class InvalidPayload(ValueError):
    """The event's `data` does not have the shape that its type promises."""


class BadLine(msgspec.Struct, frozen=True):
    """A complete line that is not an event: skipped, counted, and listed by `runicorn events verify`."""

    offset: int
    reason: str


# Not strict JSON, or nested deeper than the interpreter's stack allows: the tolerant reader decides.
_NOT_STRICT = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_ZEROS_BYTES = 1 << 20
_HEAD_BYTES = 64  # an event begins with its time in microseconds: enough to tell two streams apart


class Lines:
    """Decoded lines of one piece of a stream, in file order.

    `start` and `end` are byte offsets in the stream; `end` is behind the newline of the last complete line.
    """

    def __init__(self, data: bytes, start: int) -> None:
        self.start = start
        self.end = start + len(data)
        self.bad: list[BadLine] = []
        self.events: list[Event] = []
        self._data = data
        self._left_out: int | None = None
        try:
            self.events = _decode_lines(data)
        except _NOT_STRICT:
            self.events = []
        # The decoder separates values, not lines. Where every line begins with `{` and ends with `}` the two agree: behind
        # a `}` inside of a value no `{` may follow.
        between = data.count(b"}\n{")
        is_whole = data.startswith(b"{") and data.endswith(b"}\n")
        if data and not (is_whole and len(self.events) == between + 1 == data.count(b"\n") and _are_plain(self.events)):
            self._decode_line_by_line()

    @classmethod
    def too_long(cls, start: int, end: int, checksum: int) -> Lines:
        """One line from `start` to `end` that is not kept: it would not fit into memory. `checksum` is its CRC-32."""
        lines = cls(b"", start)
        lines.end = end
        lines._left_out = checksum
        lines.bad.append(BadLine(start, "too long"))
        return lines

    @property
    def data(self) -> bytes:
        """The lines as they are in the file; empty for one that was too long."""
        return self._data

    @property
    def head(self) -> bytes:
        """The first bytes, at most 64: where `start` is 0 they identify the content of the stream."""
        return self._data[:_HEAD_BYTES]

    def checksum(self, before: int) -> int:
        """The CRC-32 of the stream up to `end`, where `before` is that up to `start`."""
        if self._left_out is None:
            return zlib.crc32(self._data, before)
        # CRC-32 is linear: what came before and what was left out add up, once the former has passed as many bytes.
        length = self.end - self.start
        return self._left_out ^ _pass_zeros(length, before) ^ _pass_zeros(length, 0)

    @cached_property
    def offsets(self) -> Sequence[int]:
        """Offset of each event, ascending: with the stream's name, the identity of the event."""
        if b"\r" in self._data:  # where `splitlines` ends lines, too
            lengths = [len(line) + 1 for line in self._data.split(b"\n")[:-1]]
        else:
            lengths = map(len, self._data.splitlines(keepends=True))
        return list(accumulate(lengths, initial=self.start))[:-1]

    def offsets_of(self, places: Sequence[int]) -> list[int]:
        """The offsets of the events at these places, which ascend: where they are near the ends, cheaper than `offsets`."""
        if "offsets" in self.__dict__:
            return [self.offsets[place] for place in places]
        data, count = self._data, len(self.events)
        middle = bisect_left(places, count // 2)
        first: list[int] = []
        at = line = 0
        for place in places[:middle]:
            while line < place:
                at, line = data.index(b"\n", at) + 1, line + 1
            first.append(self.start + at)
        last: list[int] = []
        at, line = len(data), count
        for place in reversed(places[middle:]):
            while line > place:
                at, line = data.rfind(b"\n", 0, at - 1) + 1, line - 1
            last.append(self.start + at)
        return [*first, *reversed(last)]

    def keep_until(self, until: float, last: float) -> float:
        """Forget the events after `until`; the time of the last one of all, from `last`, that of the one before the first.

        An event without a usable time has that of the one before it.
        """
        events = self.events
        if not events:
            return last
        times = [event.ts for event in events]
        if not (last <= until and max(times) <= until and _are_plain(events)):
            offsets = self.offsets
            kept: list[int] = []
            for number, ts in enumerate(times):
                last = last if ts != ts else ts
                if last <= until:
                    kept.append(number)
            self.events = [events[number] for number in kept]
            self.__dict__["offsets"] = [offsets[number] for number in kept]
            return last
        return times[-1]

    def _decode_line_by_line(self) -> None:
        self.events = []
        offsets: list[int] = []
        position = self.start
        for line in self._data.split(b"\n")[:-1]:
            try:
                event = decode_event(line)
            except ValueError as error:
                self.bad.append(BadLine(position, str(error)))
            else:
                if event is not None:
                    self.events.append(event)
                    offsets.append(position)
            position += len(line) + 1
        self.__dict__["offsets"] = offsets


def _pass_zeros(length: int, checksum: int) -> int:
    zeros = bytes(min(length, _ZEROS_BYTES))
    while length > 0:
        checksum = zlib.crc32(zeros[:length], checksum)
        length -= len(zeros)
    return checksum


def decode_event(line: bytes) -> Event | None:
    """The event in one line without its newline; None for a blank line; ValueError if it is not a JSON object."""
    stripped = line.strip()
    if not stripped:
        return None
    try:
        event = _decode_event(stripped)
        if _is_plain(event):
            return event
    except _NOT_STRICT:
        pass
    try:
        value = parse_json(stripped)
    except ValueError as error:
        raise ValueError("nested too deeply" if "nested" in str(error) else "not JSON") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    fields = cast(dict[str, Any], value)
    ts, kind = fields.get("ts"), fields.get("type")
    usable = isinstance(ts, (int, float)) and not isinstance(ts, bool)
    try:
        seconds = float(ts) if usable else math.nan  # type: ignore[arg-type]  # `usable` says so
    except OverflowError:
        seconds = math.nan
    return Event(
        seconds if math.isfinite(seconds) else math.nan,
        kind if isinstance(kind, str) else "",
        msgspec.Raw(_dump(fields.get("data"))),
    )


def encode_event(ts: float, type: str, data: object) -> bytes:
    """One line with its newline. Floats that JSON lacks are written bare (`NaN`), as 0.4.0 does.

    TypeError or ValueError if `data` holds something that JSON cannot express.
    """
    try:
        if not has_non_finite(data):
            return _encode(Event(ts, type, msgspec.Raw(_encode(data)))) + b"\n"
    except (UnicodeEncodeError, OverflowError):  # lone surrogates; integers beyond 64 bits
        pass
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return b'{"ts":%s,"type":%s,"data":%s}\n' % (_encode(ts), dump_json(type), _dump(data))


def decode_payload(event: Event, payload: type[P]) -> P:
    """`event.data` as `payload`; InvalidPayload if it does not fit."""
    decoder = _payload_decoders.get(payload)
    if decoder is None:
        decoder = _payload_decoders[payload] = msgspec.json.Decoder(payload)
    try:
        if not may_nest_too_deeply(bytes(event.data)):
            return cast(P, decoder.decode(event.data))
    except _NOT_STRICT:
        pass
    try:
        return msgspec.convert(parse_json(bytes(event.data)), payload)
    except ValueError as error:
        raise InvalidPayload(f"{event.type}: {error}") from None


def decode_data(event: Event) -> Any:
    """`event.data` as plain Python objects, tolerant of NaN and huge integers; None if it nests deeper than 200 levels."""
    try:
        if not may_nest_too_deeply(bytes(event.data)):
            return _decode_any(event.data)
    except _NOT_STRICT:
        pass
    try:
        return parse_json(bytes(event.data))
    except ValueError:
        return None


def has_non_finite(value: object) -> bool:
    """Whether a float that JSON cannot express is in `value` (nested lists and dicts included)."""
    if isinstance(value, float):
        return value - value != 0.0
    if isinstance(value, dict):
        return any(has_non_finite(item) for item in cast(dict[object, object], value).values())
    if isinstance(value, (list, tuple)):
        return any(has_non_finite(item) for item in cast(Sequence[object], value))
    return isinstance(value, msgspec.Struct) and any(has_non_finite(item) for item in _fields(value))


def _fields(value: msgspec.Struct) -> Iterator[object]:
    return (getattr(value, name) for name in value.__struct_fields__)


def _is_plain(event: Event) -> bool:
    # msgspec fills defaults for missing keys; such lines are legal, but their `ts` needs a second look.
    return event.ts == event.ts


def _are_plain(events: Sequence[Event]) -> bool:
    # One that is not makes the sum NaN, at half the cost of asking each. (Others may, too: then it only takes longer.)
    total = sum([event.ts for event in events])
    return total == total


def _dump(value: object) -> bytes:
    return dump_json(msgspec.to_builtins(value))  # the same values as for msgspec, so that both ways write the same


_encode = msgspec.json.Encoder().encode
_event_decoder = msgspec.json.Decoder(Event)
_decode_event = _event_decoder.decode
_decode_lines = _event_decoder.decode_lines
_decode_any = msgspec.json.Decoder().decode
_payload_decoders: dict[type[Payload], msgspec.json.Decoder[Any]] = {}
