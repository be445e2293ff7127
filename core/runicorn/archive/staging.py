"""Directories below `<root>/.runicorn` in which an import is put together, out of everybody's sight.

Each belongs to the process that holds the lock in it. Left behind by a crash, it is removed by the next import or start.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from runicorn.config import INTERNAL
from runicorn.errors import StorageUnavailable
from runicorn.events.discovery import find_runs
from runicorn.files import LockTimeout, file_lock

logger = logging.getLogger("runicorn.archive")

ASIDE = "aside"
"""Below a staging directory: runs of the store that are being replaced, by their keys."""

_PLACE = f"{INTERNAL}/staging"
_LOCK_S = 30.0


@contextmanager
def staging_directory(root: Path) -> Generator[Path]:
    """A new directory on the root's file system, removed in the end. StorageUnavailable if there cannot be one."""
    place = root / _PLACE
    directory = place / f"{os.getpid()}-{os.urandom(4).hex()}"
    with contextlib.ExitStack() as stack:
        try:
            place.mkdir(parents=True, exist_ok=True)
            with file_lock(place / "lock", timeout_s=_LOCK_S):
                _remove_stale(root, place)
                directory.mkdir(mode=0o700)
                stack.callback(_discard, root, directory)
                stack.enter_context(file_lock(directory / "lock", timeout_s=_LOCK_S))
        except OSError as error:  # LockTimeout is one
            raise StorageUnavailable from error
        yield directory


@contextmanager
def only_import(root: Path) -> Generator[None]:
    """Hold the lock under which runs are moved into place: one import at a time. StorageUnavailable if it is held for long."""
    try:
        with file_lock(root / _PLACE / "commit.lock", timeout_s=_LOCK_S):
            yield
    except LockTimeout as error:
        raise StorageUnavailable("Another import is on its way. Try again later.") from error


def remove_stale_staging(root: Path) -> None:
    """Remove what imports left behind that ended without a chance to tidy up."""
    place = root / _PLACE
    if not place.is_dir():
        return
    try:
        with file_lock(place / "lock", timeout_s=_LOCK_S):
            _remove_stale(root, place)
    except OSError as error:
        logger.info("what an earlier import left behind cannot be removed: %s", error.strerror or error)


def _remove_stale(root: Path, place: Path) -> None:
    for entry in os.scandir(place):
        if not entry.is_dir(follow_symlinks=False):
            continue
        with contextlib.suppress(OSError), file_lock(f"{entry.path}/lock", timeout_s=0):
            _discard(root, Path(entry.path))


def _discard(root: Path, directory: Path) -> None:
    """Remove a staging directory; first a run of the store that is still in it goes back. If it cannot, all stays."""
    try:
        for run in find_runs(directory / ASIDE):
            if not os.path.lexists(root / run.key):
                os.rename(directory / ASIDE / run.key, root / run.key)
                logger.warning("the run %s, which an import was replacing when it ended, is back", run.key)
    except OSError as error:
        logger.error("a run that an import was replacing is in %s: %s", directory, error.strerror or error)
        return
    shutil.rmtree(directory, ignore_errors=True)
