"""What could not be brought: each file and directory counts once, for as long as that is so."""

from __future__ import annotations

import threading
from collections.abc import Container

from runicorn_remote.mirror.progress import MirrorStats

_MOST_REFUSED = 1000


class Failures:
    """Keeps `MirrorStats.failed_files`. For several threads."""

    def __init__(self, stats: MirrorStats) -> None:
        self._stats = stats
        self._mutex = threading.Lock()
        self._files: set[str] = set()
        self._refused: set[str] = set()
        self._unreadable = 0

    def add(self, path: str) -> bool:
        """A file could not be brought; whether that is news."""
        with self._mutex:
            is_new = path not in self._files
            self._files.add(path)
            self._count()
        return is_new

    def refuse(self, path: str) -> bool:
        """A file has a name that is not used here; whether that is news. Of very many the others are not told."""
        with self._mutex:
            is_new = path not in self._refused and len(self._refused) < _MOST_REFUSED
            if is_new:
                self._refused.add(path)
                self._count()
        return is_new

    def remove(self, path: str) -> None:
        """A file is here."""
        if path in self._files:
            with self._mutex:
                self._files.discard(path)
                self._count()

    def after_scan(self, unreadable: int, wanted: Container[str]) -> None:
        """How many directories could not be read, and which files are not here as they are there: others do not fail."""
        with self._mutex:
            self._unreadable = unreadable
            self._files = {path for path in self._files if path in wanted}
            self._count()

    def _count(self) -> None:
        self._stats.failed_files = len(self._files) + len(self._refused) + self._unreadable
