"""What a mirror has done, on disk: after a restart nothing unchanged is copied again.

`<root>/.mirrors/<source key>/` (mode 0700) holds `state.db`, `lock` while a task runs, and `tree/` for what may not be put
in place. Changes are kept in memory and written once a second: what a killed process did not write down is found by
comparing, and costs at most a copy.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import cast

import msgspec

from runicorn.plugin import MIRRORS, Conflict, Unavailable
from runicorn_remote.database import open_database

_TREE = "tree"

_SCHEMA = """
    CREATE TABLE IF NOT EXISTS file(
        path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
        local_size INTEGER NOT NULL, local_mtime_ns INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS unit(path TEXT PRIMARY KEY, in_place INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS told(path TEXT PRIMARY KEY) WITHOUT ROWID;  -- units whose origin is in the log
"""


class FileState(msgspec.Struct, frozen=True):
    """What was seen of a file on the server, and what it was here after it had been brought."""

    size: int
    mtime_ns: int
    local_size: int
    """Bytes that are here; fewer than `size` where a torn last line is waiting."""
    local_mtime_ns: int


class MirrorBusy(Conflict):
    """Another process mirrors this source into this root."""

    def __init__(self) -> None:
        super().__init__("Another server mirrors this source into this storage root already")


class RootGone(Unavailable):
    """The root was removed, replaced or unmounted: what is there now must not be filled from anew."""

    def __init__(self) -> None:
        super().__init__("The storage root is gone, or another one is in its place; start the mirror again")


class MirrorState:
    """The state of one source below one root. For several threads; one process at a time."""

    def __init__(self, root: Path, key: str) -> None:
        """Open it. MirrorBusy if another process has it; OSError where the root cannot be written."""
        self.directory = root / MIRRORS / key
        self.directory.mkdir(parents=True, exist_ok=True)
        os.chmod(self.directory, 0o700)
        self._lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._db = open_database(self.directory / "state.db", _SCHEMA)
        except BlockingIOError:
            os.close(self._lock)
            raise MirrorBusy from None
        except BaseException:
            os.close(self._lock)
            raise
        self._mutex = threading.Lock()
        self._files = {
            str(path): FileState(*cast(tuple[int, int, int, int], tuple(values)))
            for path, *values in self._db.execute("SELECT path, size, mtime_ns, local_size, local_mtime_ns FROM file")
        }
        self._units = {str(path): bool(value) for path, value in self._db.execute("SELECT path, in_place FROM unit")}
        self._conflicts = sum(not in_place for in_place in self._units.values())
        self._told = {str(path) for (path,) in self._db.execute("SELECT path FROM told")}
        self._changed: set[str] = set()
        self._is_closed = False

    def check_in_place(self) -> None:
        """RootGone if this state is not below its root any more."""
        try:
            found = os.stat(self.directory / "lock")
        except OSError:
            raise RootGone from None
        if not os.path.samestat(found, os.fstat(self._lock)):
            raise RootGone

    @property
    def conflict_tree(self) -> Path:
        """Where units are kept that exist here already without being this source's."""
        return self.directory / _TREE

    def file(self, path: str) -> FileState | None:
        """What is known of a file."""
        return self._files.get(path)

    def paths(self) -> list[str]:
        """All files that are known."""
        with self._mutex:
            return list(self._files)

    def set_file(self, path: str, state: FileState | None) -> None:
        """Note what was done with a file; None forgets it."""
        with self._mutex:
            if state is None:
                self._files.pop(path, None)
            else:
                self._files[path] = state
            self._changed.add(path)

    def unit(self, path: str) -> bool | None:
        """Whether a unit is in its place here (else in the tree of conflicts); None if it was never seen."""
        return self._units.get(path)

    def units(self) -> Iterator[tuple[str, bool]]:
        """All units with whether they are in place."""
        with self._mutex:
            return iter(list(self._units.items()))

    def set_unit(self, path: str, *, in_place: bool) -> None:
        """Note whose a unit is; on disk when this returns, before anything is created."""
        with self._mutex:
            self._conflicts += (not in_place) - (self._units.get(path) is False)
            self._units[path] = in_place
            self._db.execute("INSERT OR REPLACE INTO unit VALUES (?, ?)", (path, int(in_place)))

    def untold(self) -> list[tuple[str, bool]]:
        """Units whose origin was not told to the log yet, with whether they are in place."""
        with self._mutex:
            return [(path, in_place) for path, in_place in self._units.items() if path not in self._told]

    def set_told(self, paths: Iterable[str]) -> None:
        """Note that their origin is in the log."""
        with self._mutex, self._db:
            paths = list(paths)
            self._told.update(paths)
            self._db.executemany("INSERT OR IGNORE INTO told VALUES (?)", ((path,) for path in paths))

    def conflicts(self) -> int:
        """How many units could not be put in place. Waits for nothing, in particular not for the disk."""
        return self._conflicts

    def save(self) -> None:
        """Write down what changed."""
        with self._mutex:
            changed, self._changed = self._changed, set()
            if not changed or self._is_closed:
                return
            with self._db:
                self._db.executemany("DELETE FROM file WHERE path = ?", ((path,) for path in changed))
                self._db.executemany(
                    "INSERT INTO file VALUES (?, ?, ?, ?, ?)",
                    (
                        (path, state.size, state.mtime_ns, state.local_size, state.local_mtime_ns)
                        for path in changed
                        if (state := self._files.get(path)) is not None
                    ),
                )

    def close(self) -> None:
        """Save, and let another process have it."""
        self.save()
        with self._mutex:
            if not self._is_closed:
                self._is_closed = True
                self._db.close()
                os.close(self._lock)
