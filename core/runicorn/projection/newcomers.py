"""Run directories that have just appeared: looked at when they hold something, watched before anybody says that they run."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable
from pathlib import Path

_YOUNG_S = 10.0  # a directory that has just appeared gets its first files now
_EMPTY_S = 0.5  # so long it is not taken for a run that will stay empty


class Newcomers:
    """The young runs of a root, and those among them that are still empty. `files` are those that make one a run."""

    def __init__(self, root: Path, files: Collection[str]) -> None:
        self._root = root
        self._files = frozenset(files)
        self._young: dict[str, float] = {}
        self._empty: dict[str, float] = {}

    def add(self, keys: Iterable[str]) -> None:
        """These have appeared."""
        until = time.monotonic() + _YOUNG_S
        self._young.update((key, until) for key in keys)

    def young(self) -> list[str]:
        """Those that are young."""
        return list(self._young)

    def forget_grown(self) -> None:
        """Let those go that are no longer young."""
        now = time.monotonic()
        self._young = {key: until for key, until in self._young.items() if until > now}

    def puts_off(self, key: str) -> bool:
        """Whether a run is to be looked at later, because it is young and empty."""
        if key in self._young and self._is_empty(key):
            self._empty.setdefault(key, time.monotonic() + _EMPTY_S)
            return True
        self._empty.pop(key, None)
        return False

    def has_begun(self, key: str) -> bool:
        """Take note of a run's first events; whether it was put off."""
        return self._empty.pop(key, None) is not None

    def take_due(self) -> list[str]:
        """Those that were put off for long enough."""
        now = time.monotonic()
        due = [key for key, until in self._empty.items() if until <= now]
        for key in due:
            del self._empty[key]
        return due

    def pause_s(self) -> float:
        """Seconds until the next one is due; infinite if none is put off."""
        return max(0.0, min(self._empty.values(), default=float("inf")) - time.monotonic())

    def _is_empty(self, key: str) -> bool:
        try:
            return self._files.isdisjoint(os.listdir(self._root / key))
        except OSError:
            return False
