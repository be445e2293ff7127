"""Which of the files that a server lists are to be brought, and which runs are looked at often."""

from __future__ import annotations

import logging
import time
from collections.abc import Container, Iterable
from pathlib import Path
from stat import S_ISREG

from runicorn.plugin import RUNNING, STATUS_FILE, read_json_object
from runicorn_remote.enumeration import RemoteFile
from runicorn_remote.mirror.failures import Failures
from runicorn_remote.mirror.state import FileState, MirrorState
from runicorn_remote.mirror.units import SMALL_BYTES, is_acceptable, is_append_only, is_run, is_wanted, unit_of
from runicorn_remote.ticks import Ticks, is_recent, is_whole_seconds

logger = logging.getLogger("runicorn.remote")

_RECENT_S = 60.0


class Choosing:
    """What one task has seen of names, changes and running runs. For all of its threads."""

    def __init__(self, known: MirrorState, local_root: Path, failures: Failures) -> None:
        self._known = known
        self._local_root = local_root
        self._failures = failures
        self._ticks = Ticks()
        self._newest_ns = 0
        self._recent: dict[str, float] = {}
        self._statuses: dict[str, tuple[FileState | None, bool]] = {}

    def is_ours_to_take(self, path: str) -> bool:
        """Whether a file belongs to a store; one whose name is dangerous is counted and told once."""
        if not is_wanted(path):
            return False
        if is_acceptable(path):
            return True
        if self._failures.refuse(path):
            logger.warning("refused a name that a server sent: %r", path[:100])
        return False

    def has_changed(self, file: RemoteFile) -> bool:
        """Whether the file, here or there, is not what was noted of it."""
        known = self._known.file(file.path)
        if known is None or (known.size, known.mtime_ns) != (file.size, file.mtime_ns):
            if self._may_change_unseen(file, is_new=known is None):
                self._ticks.note(file)
            return True
        if self.is_due(file):
            return True
        if known.local_size < file.size and is_append_only(file.path):
            return True
        unit = unit_of(file.path)
        is_aside = unit is not None and self._known.unit(unit) is False
        try:
            local = ((self._known.conflict_tree if is_aside else self._local_root) / file.path).lstat()
        except OSError:
            return True
        return not S_ISREG(local.st_mode) or (local.st_size, local.st_mtime_ns) != (
            known.local_size,
            known.local_mtime_ns,
        )

    def is_due(self, file: RemoteFile) -> bool:
        """Whether a file has to be looked at once more, though nothing tells that it has changed."""
        return self._ticks.is_over(file, time.monotonic())

    def were_brought(self, files: Iterable[RemoteFile], began: float) -> None:
        """Files were brought from the monotonic time `began` on."""
        for file in files:
            if self._ticks.is_over(file, began):
                self._ticks.forget(file.path)

    def note_newest(self, files: Iterable[RemoteFile]) -> None:
        """These are all files there."""
        self._newest_ns = max((file.mtime_ns for file in files), default=0)

    def forget_missing(self, present: Container[str]) -> None:
        """Only these files are there."""
        for path in self._ticks.paths():
            if path not in present:
                self._ticks.forget(path)

    def _may_change_unseen(self, file: RemoteFile, *, is_new: bool) -> bool:
        """Whether another content may get the same size and time. What grows by appends gets another size."""
        if is_append_only(file.path) or file.size > SMALL_BYTES or not is_whole_seconds(file.mtime_ns):
            return False
        return not is_new or is_recent(file.mtime_ns, self._newest_ns)

    def missing(self, file: RemoteFile) -> int:
        """How many bytes of a file are to be brought, as far as its size tells."""
        known = self._known.file(file.path) if is_append_only(file.path) else None
        here = 0 if known is None else known.local_size
        return file.size - here if here <= file.size else file.size

    def has_just_changed(self, path: str) -> None:
        """The run of this file is looked at often for a minute."""
        unit = unit_of(path)
        if unit is not None:
            self._recent[unit] = time.monotonic()

    def live_directories(self) -> list[str]:
        """The runs that are running, or were changed within the last minute."""
        now = time.monotonic()
        for unit in [unit for unit, at in list(self._recent.items()) if now - at > _RECENT_S]:
            self._recent.pop(unit, None)
        running = (unit for unit, in_place in self._known.units() if is_run(unit) and self._is_running(unit, in_place))
        return list(dict.fromkeys([*running, *(unit for unit in list(self._recent) if is_run(unit))]))

    def _is_running(self, unit: str, in_place: bool) -> bool:
        state = self._known.file(f"{unit}/{STATUS_FILE}")
        if state is None:
            return False
        seen, is_running = self._statuses.get(unit, (None, False))
        if seen != state:
            base = self._local_root if in_place else self._known.conflict_tree
            is_running = (read_json_object(base / unit / STATUS_FILE) or {}).get("status") == RUNNING
            self._statuses[unit] = (state, is_running)
        return is_running
