"""The values in a run's summary and configuration that runs can be filtered and sorted by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias, cast

import msgspec

from runicorn.plugin import number, parse_json, text

MAX_ATTRIBUTES = 1000
"""Of a summary, and of a configuration; what follows in the file is not found by filters."""
MAX_NAME = 256
"""Characters of a name; a value with a longer one is left out."""
MAX_TEXT = 1000
"""Characters of a text; what follows is cut off."""
NOTES = frozenset({"note", "notes"})
"""Names under which a summary or a configuration says something about the run in people's words."""
MAX_NOTE = 100_000
"""Characters of a note."""
_MAX_DEPTH = 16

Attribute: TypeAlias = tuple[float | None, str | None]
"""A number or a text; the other one is None."""

_EMPTY = (b"{}", "{}")


def attributes(content: bytes | str) -> dict[str, Attribute]:
    """By name, from a JSON object: finite numbers, booleans as 1 and 0, texts. Nested names are joined by dots.

    Null, NaN and lists are no values. Of several values with one name the last counts.
    """
    return {} if content in _EMPTY else attributes_of(parsed(content))


def attributes_of(content: Mapping[str, Any]) -> dict[str, Attribute]:
    """The same of an object that is parsed already."""
    found: dict[str, Attribute] = {}
    _collect(content, "", 0, found)
    return found


def parsed(content: bytes | str) -> dict[str, Any]:
    """A JSON object as it is stored, which may hold what strict decoders refuse."""
    try:
        return _decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # NaN, lone surrogates
        return parse_json(content.encode() if isinstance(content, str) else content)


def _collect(content: Mapping[str, Any], prefix: str, depth: int, found: dict[str, Attribute]) -> None:
    for key, value in content.items():
        name = prefix + (key if key.isascii() else cast(str, text(key)))
        kind = type(value)
        if kind is float and value - value == 0.0:
            attribute: Attribute | None = (value, None)
        elif kind is str:
            attribute = None, cast(str, text(value))[: MAX_NOTE if name in NOTES else MAX_TEXT]
        elif kind is dict:
            if depth < _MAX_DEPTH:
                _collect(cast("dict[str, Any]", value), f"{name}.", depth + 1, found)
            continue
        else:
            attribute = _attribute(value)
        if attribute is not None and (len(found) < MAX_ATTRIBUTES or name in found) and len(name) <= MAX_NAME:
            found[name] = attribute


def _attribute(value: object) -> Attribute | None:
    if isinstance(value, bool):
        return float(value), None
    amount = number(value)
    return None if amount is None else (amount, None)


_decode = msgspec.json.Decoder(dict[str, Any]).decode
