"""Metric events decoded to frames without a Python object per key: the fast way from a stream to columns.

Most runs log the same keys again and again. For such a set of keys a msgspec Struct is generated: decoding into it costs a
third of decoding into dicts, and its fields are columns already. Whatever does not fit is read as dicts, and what strict
JSON forbids line by line as the contract says.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any

import msgspec
from msgspec import UNSET

from runicorn.columns.frame import Frame, build_frame, frame_of_values
from runicorn.events.envelope import Event, decode_data
from runicorn.events.run import METRICS

_MAX_KEYS = 256  # beyond it, keys are rarely the same in all events, and cells cost less than fields
_MAX_FIELDS_PER_CELL = 4  # in a Struct an absent key costs nearly what a value costs
_LONG = 512  # rows from which generating a Struct (about 50 µs) pays at first sight
_REMEMBERED = 1024  # key sets, a few KB each; 100 000 runs have few different ones

_NOT_STRICT = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Shape:
    """A set of keys, and the Struct that decodes events which have no others."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        names = [f"f{i}" for i in range(len(keys))]
        fields: list[tuple[str, Any, Any]] = [(name, Any, UNSET) for name in names]
        struct = msgspec.defstruct(
            "MetricEvent", fields, rename=dict(zip(names, keys, strict=True)), forbid_unknown_fields=True, gc=False
        )
        self.keys = keys
        self.decode_lines: Callable[[bytes], list[msgspec.Struct]] = msgspec.json.Decoder(struct).decode_lines
        self.columns = [(key, attrgetter(name)) for key, name in zip(keys, names, strict=True)]


_shapes: dict[tuple[str, ...], _Shape | None] = {}
"""By the keys of a piece's first event: the shape that fitted the last piece which began so; None: seen once."""


def build_frame_from_lines(ts: Sequence[float], data: Sequence[bytes | msgspec.Raw]) -> Frame:
    """A frame from envelope times (Unix seconds, NaN: none) and payloads of metric events as JSON text.

    The payloads are those of `runicorn.events.envelope.Event`. A payload that is not an object, or not JSON, is no metric
    event and makes no row.
    """
    if not data:
        return build_frame(ts, [])
    joined = b"\n".join(data)
    try:
        keys = tuple(_decode_object(data[0]))
        shape = _shapes.get(keys)
        if shape is not None:
            events = shape.decode_lines(joined)
            if len(events) == len(data):
                return frame_of_values(ts, {key: (None, list(map(get, events))) for key, get in shape.columns})
    except _NOT_STRICT:
        pass
    try:
        objects = _decode_objects(joined)
        if len(objects) != len(data):
            raise msgspec.DecodeError
    except _NOT_STRICT:
        return build_frame(ts, [_tolerant(item) for item in data])
    _learn(objects)
    return build_frame(ts, objects)


def _learn(objects: Sequence[dict[str, Any]]) -> None:
    """Prepare for more events like these: with a Struct if they are many, or begin as an earlier piece did."""
    first = tuple(objects[0])
    if len(first) > _MAX_KEYS:
        return
    if first not in _shapes and len(objects) < _LONG:
        if len(_shapes) >= _REMEMBERED:
            _shapes.clear()
        _shapes[first] = None
        return
    known = _shapes.get(first)
    keys = dict.fromkeys(chain(known.keys if known else (), chain.from_iterable(objects)))
    if len(keys) > _MAX_KEYS or len(keys) * len(objects) > _MAX_FIELDS_PER_CELL * sum(map(len, objects)):
        return
    with contextlib.suppress(ValueError):  # msgspec refuses fields named by quotes, backslashes, control characters
        _shapes[first] = _Shape(tuple(keys))


def _tolerant(data: bytes | msgspec.Raw) -> object:
    try:
        return decode_data(Event(0.0, METRICS, msgspec.Raw(data)))
    except ValueError:
        return None


_decode_object = msgspec.json.Decoder(dict[str, Any]).decode
_decode_objects = msgspec.json.Decoder(dict[str, Any]).decode_lines
