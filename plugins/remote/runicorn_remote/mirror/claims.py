"""Which run or artifact here belongs to which source.

The source that first creates a unit has it. A unit that exists here without being this source's (a local run, or one of
another server) is never touched: its files go to a tree of their own, from which lists read them, too.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from runicorn_remote.mirror.local_tree import LocalTree, UnsafePlace
from runicorn_remote.mirror.state import MirrorState
from runicorn_remote.mirror.units import unit_of

logger = logging.getLogger("runicorn.remote")


class Claims:
    """Decides for every file of a source in which tree it is kept."""

    def __init__(self, root: Path, state: MirrorState) -> None:
        self._state = state
        self._in_place = LocalTree(root)
        state.conflict_tree.mkdir(exist_ok=True)
        self._aside = LocalTree(state.conflict_tree)

    def tree_of(self, path: str) -> LocalTree | None:
        """The tree that the file belongs to; None for a file outside of units that is not ours to touch."""
        unit = unit_of(path)
        if unit is None:
            is_ours = self._state.file(path) is not None or not self._in_place.exists(path)
            return self._in_place if is_ours else None
        in_place = self._state.unit(unit)
        if in_place is None:
            in_place = self._claim(unit)
        return self._in_place if in_place else self._aside

    def claim(self, paths: Iterable[str], check: Callable[[], None]) -> None:
        """Decide for units that were never seen, before their files are brought; `check` is called before each."""
        for unit in {unit for path in paths if (unit := unit_of(path)) is not None}:
            check()
            if self._state.unit(unit) is None:
                with contextlib.suppress(OSError):  # the file says it again, when it is brought
                    self._claim(unit)

    def remove(self, path: str) -> None:
        """Remove a file that this source has brought."""
        tree = self.tree_of(path)
        if tree is not None:
            try:
                with tree.place(path) as place:
                    place.remove()
            except UnsafePlace as error:  # somebody has put a link in its place: what it leads to is not ours
                logger.info("a file that is gone on the server could not be removed: %s", error)

    def remove_parts(self) -> None:
        """Remove what a killed process left half-written, in the directories of all units."""
        directories: dict[str, LocalTree] = {}
        for path in self._state.paths():
            is_aside = self._state.unit(unit_of(path) or "") is False
            directories[path.rpartition("/")[0]] = self._aside if is_aside else self._in_place
        for directory, tree in directories.items():
            tree.remove_parts(directory)

    def _claim(self, unit: str) -> bool:
        if self._in_place.exists(unit):
            self._state.set_unit(unit, in_place=False)
            return False
        self._state.set_unit(unit, in_place=True)  # before it is made: a kill in between must not make it a stranger
        if self._in_place.create_directory(unit):
            return True
        self._state.set_unit(unit, in_place=False)  # somebody was quicker
        return False
