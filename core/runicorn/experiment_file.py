"""`.experiments_metadata.json`: what people say about runs, one entry per run id.

Entries are damaged or sound one by one. A change keeps everything that it does not concern: damaged entries, and keys
that a newer version knows.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Collection, Generator, Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import msgspec

from runicorn.entry_steps import NO_FILE, Stamp, is_ours, note_step, stamp_of
from runicorn.entry_text import MISSING, entry_in, with_entries
from runicorn.errors import BadInput
from runicorn.files import as_file, file_lock, open_to_read, read_json_object, sync_directory, write_temporary

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

    def read_some(self, run_ids: Iterable[str]) -> dict[str, Any]:
        """The entries of some runs, as `read`."""
        wanted = list(run_ids)
        found = self._few(wanted)
        if found is not None:
            return found[2]
        entries = self.read()
        return {run_id: entries[run_id] for run_id in wanted if run_id in entries}

    @contextlib.contextmanager
    def changing(
        self, run_ids: Iterable[str] | None = None, *, lock_timeout_s: float = _LOCK_TIMEOUT_S
    ) -> Generator[dict[str, Any]]:
        """The entries (of `run_ids` alone: that is cheap), to be changed while nobody else does; what changed is written
        at the end.

        The root is created if missing. A file that holds no JSON object is kept aside as `….damaged`. LockTimeout,
        OSError.
        """
        self._root.mkdir(parents=True, exist_ok=True)
        with file_lock(f"{self._path}.lock", timeout_s=lock_timeout_s):
            found = None if run_ids is None else self._few(run_ids)
            if found is not None:
                before, text, stored = found
                entries = dict(stored)
                yield entries
                changes = _changes(stored, entries)
                if changes:
                    self._replace(with_entries(text, changes), before, changes)
                return
            before = self._stamp()
            whole = read_json_object(self._path, limit=None)
            entries = dict(whole or {})
            yield entries
            changes = _changes(whole or {}, entries)
            if changes:
                if whole is None and self._path.is_file():
                    os.replace(self._path, f"{self._path}.damaged")
                self._replace(as_file(entries), before, changes)

    def _few(self, run_ids: Iterable[str]) -> tuple[Stamp, bytes, dict[str, Any]] | None:
        """The file, its text, and some of its entries; None where the layout of the text cannot be relied on."""
        try:
            with open_to_read(self._path) as file:
                stamp = stamp_of(os.fstat(file.fileno()))
                if not is_ours(self._root, stamp):
                    return None
                text = file.read()
            found = {run_id: entry_in(text, run_id) for run_id in run_ids}
        except (OSError, ValueError):
            return None
        return stamp, text, {run_id: entry for run_id, entry in found.items() if entry is not MISSING}

    def _stamp(self) -> Stamp:
        try:
            return stamp_of(os.stat(self._path))
        except FileNotFoundError:
            return NO_FILE

    def _replace(self, text: bytes, before: Stamp, changes: Collection[str]) -> None:
        temporary = write_temporary(self._path, text, fsync=True)
        try:
            note_step(self._root, before, stamp_of(os.stat(temporary)), changes)
            os.replace(temporary, self._path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        sync_directory(self._root)


def _changes(stored: Mapping[str, Any], entries: Mapping[str, Any]) -> dict[str, object]:
    """The entries that are others than those stored, and those that are MISSING now."""
    changed: dict[str, object] = {
        run_id: entry
        for run_id, entry in entries.items()
        if run_id not in stored or (entry is not stored[run_id] and entry != stored[run_id])
    }
    return {**changed, **dict.fromkeys(stored.keys() - entries.keys(), MISSING)}
