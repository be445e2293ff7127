"""Removing runs for good.

A run is first moved out of sight, to `.runicorn/purging` in the same root, then told to the log, and removed there: nobody
ever sees half of it, and a purge that is killed leaves no run in its place without what people said about it. Links inside
of a run are unlinked and never followed; a run that is itself a link is only unlinked.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import stat
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec

from runicorn.config import INTERNAL
from runicorn.errors import RunicornError
from runicorn.events.decided import RunPurged
from runicorn.experiment_file import METADATA_FILE, ExperimentFile
from runicorn.run_commands.marker import USER_DELETED, Deletion, check_parent, is_marked, prepare, publish
from runicorn.run_commands.recycling import (
    NOT_FOUND,
    Failures,
    Record,
    RunPlace,
    alone,
    deleted,
    in_threads,
    record_outcome,
)

logger = logging.getLogger("runicorn.runs")

_ENTRIES_LOCK_S = 5.0
_NOT_REMOVED = "could not be removed"
_ATTEMPTS = 3  # a training process may add a file while its run is being removed


class Purged(msgspec.Struct, frozen=True):
    """What became of runs that were to be removed for good."""

    failures: Failures
    bytes_freed: int
    """Sizes of the files that are gone; a file that has another name elsewhere is not counted."""


class _Moved(msgspec.Struct, frozen=True):
    run: RunPlace
    path: Path
    """Where the run is now: its place, if it cannot be moved."""


def purge(root: Path, runs: Sequence[RunPlace], record: Record, *, keep_entries: Collection[str] = ()) -> Purged:
    """Remove run directories with everything in them, and their entries in `.experiments_metadata.json`.

    Artifacts that a run made stay, and so do parent directories. What cannot be removed is in the recycle bin afterwards.
    Entries of the ids `keep_entries` stay: they mean another run. StorageUnavailable if nothing can be recorded: then
    nothing has changed.
    """
    with alone(root):
        failures: Failures = {run.key: _why_not_removable(root, run) for run in runs}
        chosen = [run for run in runs if failures[run.key] is None]
        if not chosen:
            return Purged(failures, 0)
        moved = [_move(root, run) for run in chosen]
        try:
            record(*(RunPurged(run=run.key, run_id=run.run_id) for run in chosen))
        except BaseException:
            for it in moved:
                _move_back(root, it)
            raise
    freed = in_threads(lambda it: _remove(root, it), moved)
    kept = [it.run for it, gone in zip(moved, freed, strict=True) if gone is None]
    if kept:
        record_outcome(record, *(deleted(run, Deletion.stored(root / run.key) or Deletion()) for run in kept))
    failures |= {run.key: _NOT_REMOVED for run in kept}
    forget_entries(root, {run.run_id for run in chosen if failures[run.key] is None}.difference(keep_entries))
    return Purged(failures, sum(size or 0 for size in freed))


def forget_entries(root: Path, run_ids: Collection[str], *, force: bool = True) -> list[str]:
    """Remove the entries of these ids from `.experiments_metadata.json`; the ids of those that there were.

    Without `force`, pinned ones stay. What cannot be written stays, too: an entry without run means nothing.
    """
    file = ExperimentFile(root)
    if not file.read_some(run_ids):
        return []
    try:
        with file.changing(run_ids, lock_timeout_s=_ENTRIES_LOCK_S) as entries:
            gone = [run_id for run_id in run_ids if run_id in entries and (force or not _is_pinned(entries[run_id]))]
            for run_id in gone:
                del entries[run_id]
    except OSError as error:
        logger.warning("%s cannot be changed: %s", METADATA_FILE, error.strerror)
        return []
    return gone


def _is_pinned(entry: object) -> bool:
    return isinstance(entry, dict) and cast(dict[str, Any], entry).get("pinned") is True


def remove_leftovers(root: Path) -> None:
    """Remove what a purge that was killed has left out of sight."""
    with contextlib.suppress(OSError):
        for name in os.listdir(root / INTERNAL / "purging"):
            shutil.rmtree(root / INTERNAL / "purging" / name, ignore_errors=True)


def _why_not_removable(root: Path, run: RunPlace) -> str | None:
    run_dir = root / run.key
    if not os.path.lexists(run_dir):
        return NOT_FOUND
    try:
        check_parent(root, run_dir)
    except RunicornError as error:
        logger.warning("could not remove the run %s: %s", run.run_id, error)
        return _NOT_REMOVED
    return None


def _move(root: Path, run: RunPlace) -> _Moved:
    """Out of sight; where that is impossible (another file system), the run stays in its place."""
    run_dir = root / run.key
    try:
        away = root / INTERNAL / "purging" / os.urandom(8).hex()
        away.parent.mkdir(parents=True, exist_ok=True)
        os.rename(run_dir, away)
    except OSError:
        return _Moved(run, run_dir)
    return _Moved(run, away)


def _move_back(root: Path, moved: _Moved) -> None:
    run_dir = root / moved.run.key
    try:
        if moved.path != run_dir and not os.path.lexists(run_dir):
            os.rename(moved.path, run_dir)
    except OSError as error:
        logger.warning("could not put the run %s back: %s", moved.run.run_id, error.strerror)


def _remove(root: Path, moved: _Moved) -> int | None:
    """Remove a run where it is now; the bytes that are free, None if something is left: then it is in the recycle bin."""
    path = moved.path
    if not path.is_symlink() and not is_marked(path):
        with contextlib.suppress(OSError):
            publish(prepare(path, Deletion.now(path, USER_DELETED)), path)
    size = _size(path)
    for attempts_left in reversed(range(_ATTEMPTS)):
        try:
            _remove_tree(path)
        except OSError as error:
            if attempts_left:
                continue
            logger.warning("could not remove the run %s: %s", moved.run.run_id, error.strerror)
            _move_back(root, moved)
            return None
        return size
    return None


def _remove_tree(path: Path) -> None:
    """The marker goes last: what remains after an error is in the recycle bin."""
    if path.is_symlink():
        path.unlink()
        return
    with contextlib.suppress(FileNotFoundError):
        with os.scandir(path) as entries:
            found = sorted(entries, key=lambda entry: entry.name == ".deleted")
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)
        os.rmdir(path)


def _size(path: Path) -> int:
    total = 0
    if path.is_symlink():
        return total
    for directory, _, files in os.walk(path):
        for name in files:
            with contextlib.suppress(OSError):
                found = os.lstat(os.path.join(directory, name))
                if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
                    total += found.st_size
    return total
