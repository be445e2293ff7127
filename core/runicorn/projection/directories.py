"""Which run directories exist: listed once, then again only where a directory's modification time moved."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from runicorn.config import INTERNAL
from runicorn.events.discovery import RunDirectory, find_run_parents, run_at, runs_in, subdirectories

logger = logging.getLogger("runicorn.projection")

_SETTLED_NS = 1_000_000_000  # a directory can change twice within one tick of the file system's clock


class RootPresence:
    """Tells whether a root can be believed: one that was unmounted looks empty, and that is not the end of all its runs."""

    def __init__(self, root: Path, known_streams: Iterable[str]) -> None:
        self._root = root
        self._has_runs = self._has_internal = False
        for name in known_streams:
            self._has_runs = True
            self._has_internal = self._has_internal or name.startswith(f"{INTERNAL}/")
        self._warned = False

    def is_there(self) -> bool:
        """False while the root is gone, or lacks what was known to be in it: our own folder, or anything at all."""
        internal = os.path.isdir(self._root / INTERNAL)
        self._has_internal = self._has_internal or internal
        there = internal or (not self._has_internal and self._looks_right())
        if not there and not self._warned:
            logger.warning(
                "the storage root is gone or empty, or lacks its folder %s: what is known of it stays until it is back",
                INTERNAL,
            )
        self._warned = not there
        return there

    def _looks_right(self) -> bool:
        try:
            with os.scandir(self._root) as entries:
                is_empty = next(entries, None) is None
        except OSError:
            return False
        self._has_runs = self._has_runs or not is_empty
        return not (is_empty and self._has_runs)


class RunDirectories:
    """Remembers the run directories of a root, and tells what came and what went."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.replaced = 0
        """How many directories were removed and made again under the same name, as far as `refresh` noticed."""
        self._stamps: dict[str, int] = {}
        self._inodes: dict[str, int] = {}
        self._listed: dict[str, list[str]] = {}
        self._runs: dict[str, frozenset[str]] = {}

    def run_keys(self) -> Iterator[str]:
        """The keys of all runs known so far."""
        for parent in list(self._runs):
            for run_id in self._runs.get(parent, ()):
                yield f"{parent}/{run_id}"

    def has(self, key: str) -> bool:
        """Whether the run with that key is known."""
        parent, _, run_id = key.rpartition("/")
        return run_id in self._runs.get(parent, ())

    def parents(self) -> list[str]:
        """Absolute paths of the directories, among those that exist, in which new projects, names or runs will appear."""
        root = os.fspath(self.root)
        found = [*(path for path in self._listed if path), *self._runs]
        return [root, *(f"{root}/{path}" for path in found if self._inodes.get(path))]

    def refresh(self) -> tuple[list[RunDirectory], list[RunDirectory]]:
        """Look again: the runs that appeared and the ones that vanished since the last call.

        Costs a `stat` per project, name and `runs` directory, and a listing where something changed. OSError if the root
        itself cannot be read: then nothing is said to have vanished.
        """
        os.stat(self.root)
        appeared: list[RunDirectory] = []
        vanished: list[RunDirectory] = []
        parents = {parent.key: parent for parent in find_run_parents(self.root, self._list)}
        for key, parent in parents.items():
            if self._is_settled(key) and key in self._runs and not parent.needs_meta:
                continue
            now = {run.run_id: run for run in runs_in(self.root, parent)}
            before = self._runs.get(key, frozenset())
            appeared += [run for run_id, run in now.items() if run_id not in before]
            vanished += [run_at(f"{key}/{run_id}") for run_id in before if run_id not in now]
            self._runs[key] = frozenset(now)
        for key in [key for key in self._runs if key not in parents]:
            vanished += [run_at(f"{key}/{run_id}") for run_id in self._runs.pop(key)]
        return appeared, vanished

    def _list(self, path: str) -> list[str]:
        if not self._is_settled(path) or path not in self._listed:
            self._listed[path] = [name for name in subdirectories(self.root / path) if not name.startswith(INTERNAL)]
        return self._listed[path]

    def _is_settled(self, path: str) -> bool:
        """Whether the directory is as it was when it was listed, judged by its modification time."""
        try:
            stat = os.stat(self.root / path)
            stamp, inode = stat.st_mtime_ns, stat.st_ino
        except OSError:
            stamp = inode = 0
        if self._inodes.get(path, inode) != inode:
            self.replaced += 1
        self._inodes[path] = inode
        same = self._stamps.get(path) == stamp
        # A time that lies ahead is as settled as an old one: the next change sets another.
        self._stamps[path] = stamp if abs(time.time_ns() - stamp) > _SETTLED_NS else -1
        return same
