"""Which run directories exist: listed once, then again only where a directory's modification time moved."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from runicorn.config import INTERNAL
from runicorn.events.discovery import find_run_parents, runs_in, subdirectories

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
    """Remembers the run directories of a root, and tells what came and what went.

    The ids in one directory are one text: as objects, those of a hundred thousand runs would take 12 MB, and hold on to
    the memory of whatever was made between them.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.replaced = 0
        """How many directories were removed and made again under the same name, as far as `refresh` noticed."""
        self._stamps: dict[str, int] = {}
        self._inodes: dict[str, int] = {}
        self._listed: dict[str, list[str]] = {}
        self._runs: dict[str, str] = {}
        """By the key of their parent: ids with `/` between them."""

    def run_keys(self) -> Iterator[str]:
        """The keys of all runs known so far."""
        for parent in list(self._runs):
            for run_id in self._ids(parent):
                yield f"{parent}/{run_id}"

    @property
    def run_count(self) -> int:
        """How many runs are known."""
        return sum(ids.count("/") + 1 for ids in self._runs.values() if ids)

    def look_up(self, keys: Iterable[str]) -> Iterator[tuple[str, bool]]:
        """Each of these keys with whether that run is known. Fast if those of one parent follow each other."""
        parent, known = "", frozenset[str]()
        for key in keys:
            directory, _, run_id = key.rpartition("/")
            if directory != parent:
                parent, known = directory, frozenset(self._ids(directory))
            yield key, run_id in known

    def parents(self) -> list[str]:
        """Absolute paths of the directories, among those that exist, in which new projects, names or runs will appear."""
        root = os.fspath(self.root)
        found = [*(path for path in self._listed if path), *self._runs]
        return [root, *(f"{root}/{path}" for path in found if self._inodes.get(path))]

    def refresh(self) -> Iterator[tuple[list[str], list[str]]]:
        """Look again: keys of the runs that appeared and of those that vanished since, by the directory that they are in.

        Costs a `stat` per project, name and `runs` directory, and a listing where something changed. OSError if the root
        itself cannot be read: then nothing is said to have vanished.
        """
        os.stat(self.root)
        parents = {parent.key: parent for parent in find_run_parents(self.root, self._list)}
        for key, parent in parents.items():
            if self._is_settled(key) and key in self._runs and not parent.needs_meta:
                continue
            now = [run.run_id for run in runs_in(self.root, parent)]
            before = self._ids(key)
            self._runs[key] = "/".join(now)
            yield _keys(key, now, before), _keys(key, before, now)
        for key in [key for key in self._runs if key not in parents]:
            yield [], _keys(key, self._ids(key), ())
            del self._runs[key]

    def _ids(self, parent: str) -> list[str]:
        ids = self._runs.get(parent)
        return ids.split("/") if ids else []

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


def _keys(parent: str, run_ids: Iterable[str], other: Iterable[str]) -> list[str]:
    """The keys of the runs in `parent` with these ids, those that `other` has left out."""
    left_out = frozenset(other)
    return [f"{parent}/{run_id}" for run_id in run_ids if run_id not in left_out]
