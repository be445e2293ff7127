"""Entries of a run's `artifacts_created.json` and `artifacts_used.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import msgspec

from runicorn.plugin import ARTIFACTS_CREATED_FILE, ARTIFACTS_USED_FILE, integer, number, text

CREATED = "created"
USED = "used"

DIRECTIONS = {ARTIFACTS_CREATED_FILE: CREATED, ARTIFACTS_USED_FILE: USED}
_TIMES = {CREATED: "created_at", USED: "used_at"}


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One artifact version in a run's file."""

    type: str
    name: str
    version: int
    size_bytes: int | None
    at: float | None
    """When it was created or first used, in Unix seconds."""

    @classmethod
    def read(cls, content: object, time_field: str) -> Entry | None:
        """From an entry of the file; None if it is malformed."""
        if not isinstance(content, dict):
            return None
        fields = cast(Mapping[str, object], content)
        type, name, version = text(fields.get("type")), text(fields.get("name")), integer(fields.get("version"))
        if type is None or name is None or version is None:
            return None
        return cls(type, name, version, integer(fields.get("size_bytes")), number(fields.get(time_field)))


def read_entries(content: Mapping[str, object] | None, direction: str) -> list[Entry]:
    """The well-formed entries of a run's file, in its order."""
    listed = (content or {}).get("artifacts")
    if not isinstance(listed, list):
        return []
    entries = (Entry.read(item, _TIMES[direction]) for item in cast(list[object], listed))
    return [entry for entry in entries if entry is not None]
