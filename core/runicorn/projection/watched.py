"""Which directories are watched: running and new runs, the parents of runs to come, artifacts, and the store stream."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from runicorn.config import INTERNAL
from runicorn.projection.artifacts import ArtifactObserver
from runicorn.projection.directories import RunDirectories
from runicorn.projection.newcomers import Newcomers

_MAX_WATCHED = 4000
_EVERY_S = 0.1


class Watched:
    """The set of directories, found again when it may have changed, ten times a second at most."""

    def __init__(
        self,
        root: Path,
        active_streams: Callable[[], Sequence[str]],
        newcomers: Newcomers,
        directories: RunDirectories,
        artifacts: ArtifactObserver,
    ) -> None:
        self._root = os.fspath(root)
        self._active_streams = active_streams
        self._newcomers = newcomers
        self._directories = directories
        self._artifacts = artifacts
        self._active: Sequence[str] = ()
        self._found: frozenset[str] = frozenset()
        self._is_stale = True
        self._next = 0.0

    def may_have_changed(self, *, at_once: bool = False) -> None:
        """Have the set found again, `at_once` without waiting for its turn."""
        self._is_stale = True
        if at_once:
            self._next = time.monotonic()

    def followed(self) -> list[str]:
        """Names of the run streams that are expected to grow."""
        return [*self._active, *self._newcomers.young()]

    def directories(self) -> frozenset[str]:
        """Absolute paths."""
        now = time.monotonic()
        if self._is_stale and now >= self._next:
            self._is_stale = False
            self._next = now + _EVERY_S
            self._active = self._active_streams()[:_MAX_WATCHED]
            self._newcomers.forget_grown()
            runs = (f"{self._root}/{name}" for name in list(dict.fromkeys(self.followed()))[:_MAX_WATCHED])
            parents = self._directories.parents()[:_MAX_WATCHED]
            log = f"{self._root}/{INTERNAL}/log"
            self._found = frozenset((*parents, *runs, *self._artifacts.directories(), log))
        return self._found
