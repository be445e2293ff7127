"""Values as JSON stores them: what is written is what every reader gets back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, cast

import msgspec

from runicorn.plugin import dump_json, parse_json

Int64 = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
"""What `integer` lets through, for decoders."""

_LEVELS_ABOVE = 3
"""Above the metadata of a version: its record, the data of an event, the event. `parse_json` counts them, too."""


def stored_json(value: object) -> Any:
    """`value` as a reader of its JSON gets it back: plain values, texts as keys, None for the numbers that JSON lacks.

    TypeError or ValueError for what JSON cannot express, or what nests too deeply for readers of files and events.
    """
    for _ in range(_LEVELS_ABOVE):
        value = [value]
    stored = parse_json(dump_json(value))
    for _ in range(_LEVELS_ABOVE):
        [stored] = stored
    return finite(stored)


def stored_metadata(metadata: Mapping[Any, Any]) -> dict[str, Any]:
    """What users say of a version or a reference, as JSON stores it. TypeError, naming the key, for what it cannot store."""
    stored: dict[str, Any] = {}
    for key, value in metadata.items():
        try:
            stored |= stored_json({key: value})
        except (TypeError, ValueError) as error:
            raise TypeError(f"Artifact metadata is not JSON-serialisable: key {key!r}: {error}") from None
    return stored


def finite(value: Any) -> Any:
    """What was read from JSON, with None in place of the numbers that JSON lacks (NaN, infinities)."""
    if isinstance(value, float):
        return value if value - value == 0.0 else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in cast(Mapping[Any, Any], value).items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in cast(list[Any], value)]
    return value
