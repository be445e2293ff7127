"""How large the pool of contents is, without counting its files anew for each question."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from runicorn.plugin import Store
from runicorn_artifacts.pool import pool_of

_SETTLED_NS = 1_000_000_000  # a directory can change twice within one tick of the file system's clock


class PoolSize:
    """Remembers the size of each of the pool's folders as long as its modification time stays. For threads."""

    def __init__(self, store: Store) -> None:
        self._pool: Path = pool_of(store.root).directory
        self._lock = threading.Lock()
        self._known: dict[str, tuple[int, int]] = {}

    def bytes(self) -> int:
        """The sum of the sizes of all files in the pool."""
        with self._lock:
            known: dict[str, tuple[int, int]] = {}
            try:
                names = os.listdir(self._pool)
            except OSError:
                names = []
            for name in names:
                found = self._folder(f"{self._pool}/{name}", self._known.get(name))
                if found is not None:
                    known[name] = found
            self._known = known
            return sum(size for _, size in known.values())

    def _folder(self, path: str, known: tuple[int, int] | None) -> tuple[int, int] | None:
        try:
            stamp = os.stat(path).st_mtime_ns
            if known is not None and known[0] == stamp:
                return known
            with os.scandir(path) as entries:
                size = sum(entry.stat(follow_symlinks=False).st_size for entry in entries if entry.is_file())
        except OSError:
            return None
        return (stamp if time.time_ns() - stamp > _SETTLED_NS else -1), size
