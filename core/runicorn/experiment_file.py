"""`.experiments_metadata.json`: what people say about runs, one entry per run id.

Entries are damaged or sound one by one. A change keeps everything that it does not concern: damaged entries, and keys
that a newer version knows.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import msgspec

from runicorn.errors import BadInput
from runicorn.files import file_lock, read_json_object, write_json

METADATA_FILE = ".experiments_metadata.json"
MAX_TAG_CHARACTERS = 64
MAX_TAGS = 100

_LOCK_TIMEOUT_S = 30.0


class InvalidTags(BadInput, ValueError):
    """Tags that cannot be set; also a `ValueError` for SDK users."""

    def __init__(self, what: str) -> None:
        super().__init__(f"Invalid value for tags: {what}")


class ExperimentMetadata(msgspec.Struct):
    """What is known about a run. `project` and `name` are for display only; times are Unix seconds."""

    id: str
    project: str | None
    name: str | None
    tags: list[str] = []
    description: str | None = None
    created_at: float = msgspec.field(default_factory=time.time)
    updated_at: float = msgspec.field(default_factory=time.time)
    archived: bool = False
    pinned: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.created_at) and math.isfinite(self.updated_at)):
            raise ValueError("created_at and updated_at must be finite")

    def to_dict(self) -> dict[str, Any]:
        """The entry as the file keeps it."""
        return {**msgspec.structs.asdict(self), "tags": list(self.tags)}

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> ExperimentMetadata:
        """From an entry of the file; unknown keys are ignored. ValueError if the entry is damaged."""
        try:
            return msgspec.convert(d, cls)
        except (msgspec.ValidationError, OverflowError) as error:
            raise ValueError(f"damaged entry: {error}") from None


def checked_tags(tags: Iterable[str]) -> list[str]:
    """Trimmed tags in their order, without duplicates; InvalidTags for empty or long ones, other types, or too many."""
    given: list[object] = list(tags)
    if isinstance(tags, str) or not all(isinstance(tag, str) for tag in given):
        raise InvalidTags("must be a list of strings")
    cleaned = list(dict.fromkeys(tag.strip() for tag in cast(list[str], given)))
    if not all(0 < len(tag) <= MAX_TAG_CHARACTERS for tag in cleaned):
        raise InvalidTags(f"a tag has 1 to {MAX_TAG_CHARACTERS} characters")
    return _not_too_many(cleaned)


def appended_tags(tags: list[str], more: list[str]) -> list[str]:
    """`more`, already checked, behind the tags of a run, which stay as they are; InvalidTags if there are too many."""
    return _not_too_many(list(dict.fromkeys([*tags, *more])))


def _not_too_many(tags: list[str]) -> list[str]:
    if len(tags) > MAX_TAGS:
        raise InvalidTags(f"a run has at most {MAX_TAGS} tags")
    return tags


class ExperimentFile:
    """The metadata file of one storage root. Safe for several threads and processes."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._path = root / METADATA_FILE

    def read(self) -> dict[str, Any]:
        """The entries by run id as they are stored, damaged ones included; empty without (readable) file."""
        return read_json_object(self._path, limit=None) or {}

    @contextlib.contextmanager
    def changing(self, *, lock_timeout_s: float = _LOCK_TIMEOUT_S) -> Generator[dict[str, Any]]:
        """The entries, to be changed while nobody else does; what changed is written at the end.

        The root is created if missing. A file that holds no JSON object is kept aside as `….damaged`. LockTimeout,
        OSError.
        """
        self._root.mkdir(parents=True, exist_ok=True)
        with file_lock(f"{self._path}.lock", timeout_s=lock_timeout_s):
            stored = read_json_object(self._path, limit=None)
            entries = dict(stored or {})
            yield entries
            if entries != (stored or {}):
                if stored is None and self._path.is_file():
                    os.replace(self._path, f"{self._path}.damaged")
                write_json(self._path, entries, fsync=True)
