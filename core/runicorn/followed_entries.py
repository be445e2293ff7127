"""The entries of `.experiments_metadata.json` as a reader sees them that looks again whenever the file has changed.

What our own writers changed is looked at alone; a file that somebody else wrote is read as a whole. Entries are kept as text:
a hundred thousand as Python objects would take a hundred megabytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from runicorn.entry_steps import NO_FILE, Stamp, changed_between, stamp_of
from runicorn.entry_text import MISSING, entry_in
from runicorn.experiment_file import METADATA_FILE
from runicorn.files import dump_json, open_to_read, parse_json

Content = dict[str, Any]


class FollowedEntries:
    """Entries by run id, as far as `sound` (an entry as it is stored; None: damaged) lets them pass."""

    def __init__(self, sound: Callable[[object], Content | None]) -> None:
        self._sound = sound
        self._stamp: Stamp = NO_FILE
        self._entries: dict[str, bytes] = {}
        self.changed: set[str] = set()
        """Ids of the entries that are new or others since the set was last emptied by its reader."""
        self.modified = 0.0
        """When the file was last written, in Unix seconds."""

    def refresh(self, root: Path) -> bool:
        """Look at the file again; False if there is none, or it cannot be read now: then what was known stays."""
        try:
            if stamp_of(os.stat(root / METADATA_FILE)) == self._stamp:
                return True
            with open_to_read(root / METADATA_FILE) as file:
                stat = os.fstat(file.fileno())
                text = file.read()
        except FileNotFoundError:
            self._entries.clear()
            self.changed.clear()
            self._stamp = NO_FILE
            return False
        except OSError:
            return False
        stamp = stamp_of(stat)
        if not self._take_changes(root, stamp, text):
            self._take_all(text)
        self._stamp, self.modified = stamp, stat.st_mtime
        return True

    def get(self, run_id: str) -> Content | None:
        """The entry of a run."""
        entry = self._entries.get(run_id)
        return None if entry is None else cast(Content, parse_json(entry))

    def _take_changes(self, root: Path, stamp: Stamp, text: bytes) -> bool:
        run_ids = changed_between(root, self._stamp, stamp)
        if run_ids is None:
            return False
        try:
            found = {run_id: entry_in(text, run_id) for run_id in run_ids}
        except ValueError:
            return False
        for run_id, stored in found.items():
            self._take(run_id, None if stored is MISSING else self._sound(stored))
        return True

    def _take_all(self, text: bytes) -> None:
        try:
            value: object = parse_json(text)
        except ValueError:
            value = None
        stored = cast(dict[str, object], value) if isinstance(value, dict) else {}
        for run_id in self._entries.keys() - stored.keys():
            self._take(run_id, None)
        for run_id, entry in stored.items():
            self._take(run_id, self._sound(entry))

    def _take(self, run_id: str, entry: Content | None) -> None:
        text = None if entry is None else dump_json(entry)
        if text is None:
            self._entries.pop(run_id, None)
            self.changed.discard(run_id)
        elif self._entries.get(run_id) != text:
            self._entries[run_id] = text
            self.changed.add(run_id)
