"""Which run directories exist: listed once, then again only where a directory's modification time moved."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from runicorn.config import INTERNAL
from runicorn.events.discovery import RunDirectory, find_run_parents, run_at, runs_in, subdirectories

_SETTLED_NS = 1_000_000_000  # a directory can change twice within one tick of the file system's clock


class RunDirectories:
    """Remembers the run directories of a root, and tells what came and what went."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._stamps: dict[str, int] = {}
        self._listed: dict[str, list[str]] = {}
        self._runs: dict[str, frozenset[str]] = {}

    def run_keys(self) -> Iterator[str]:
        """The keys of all runs known so far."""
        for parent in list(self._runs):
            for run_id in self._runs.get(parent, ()):
                yield f"{parent}/{run_id}"

    def parents(self) -> list[str]:
        """Absolute paths of the directories in which new projects, names or runs will appear."""
        root = os.fspath(self.root)
        return [root, *(f"{root}/{path}" for path in self._listed if path), *(f"{root}/{path}" for path in self._runs)]

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
            stamp = os.stat(self.root / path).st_mtime_ns
        except OSError:
            stamp = 0
        same = self._stamps.get(path) == stamp
        self._stamps[path] = stamp if time.time_ns() - stamp > _SETTLED_NS else -1
        return same
