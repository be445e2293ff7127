"""The values in a run's summary and configuration that runs can be filtered and sorted by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias, cast

from runicorn.plugin import number, parse_json, text

MAX_ATTRIBUTES = 1000
"""Of a summary, and of a configuration; what follows in the file is not found by filters."""
MAX_NAME = 256
"""Characters of a name; a value with a longer one is left out."""
MAX_TEXT = 1000
"""Characters of a text; what follows is cut off."""
_MAX_DEPTH = 16

Attribute: TypeAlias = tuple[float | None, str | None]
"""A number or a text; the other one is None."""

_EMPTY = (b"{}", "{}")


def attributes(content: bytes | str) -> dict[str, Attribute]:
    """By name, from a JSON object: finite numbers, booleans as 1 and 0, texts. Nested names are joined by dots.

    Null, NaN and lists are no values. Of several values with one name the last counts.
    """
    if content in _EMPTY:
        return {}
    encoded = content.encode() if isinstance(content, str) else content
    found: dict[str, Attribute] = {}
    for name, value in _leaves(parse_json(encoded), "", 0):
        attribute = _attribute(value)
        if attribute is not None and (name in found or len(found) < MAX_ATTRIBUTES) and len(name) <= MAX_NAME:
            found[name] = attribute
    return found


def _leaves(content: Mapping[str, Any], prefix: str, depth: int) -> Iterator[tuple[str, object]]:
    for key, value in content.items():
        name = prefix + (key if key.isascii() else cast(str, text(key)))
        if type(value) is dict:
            if depth < _MAX_DEPTH:
                yield from _leaves(cast("dict[str, Any]", value), f"{name}.", depth + 1)
        else:
            yield name, value


def _attribute(value: object) -> Attribute | None:
    if isinstance(value, bool):
        return float(value), None
    if isinstance(value, str):
        return None, cast(str, text(value))[:MAX_TEXT]
    amount = number(value)
    return None if amount is None else (amount, None)
