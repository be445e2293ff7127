"""Importing: the runs of an archive are put together out of sight, and moved into the store when all is well.

Nothing of a damaged archive, and nothing beyond a limit, reaches the store. A run whose id exists anywhere in the root, in
the recycle bin too, stays as it is, unless it is to be replaced.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import BinaryIO

import msgspec

from runicorn.archive.annotations import restore_annotations
from runicorn.archive.limits import Limits, Meter
from runicorn.archive.moving import exchange
from runicorn.archive.reading import members_of
from runicorn.archive.staging import only_import
from runicorn.archive.store_events import CarriedEvents, Recorder, events_about
from runicorn.archive.unpacking import Unpacked
from runicorn.errors import StorageUnavailable
from runicorn.events.discovery import find_runs
from runicorn.events.log import FileLog, Stream
from runicorn.run_files import is_inside

logger = logging.getLogger("runicorn.archive")


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What an import has done, or would do."""

    files: int = 0
    """Written files."""
    runs: list[str] = []
    """Keys of new runs, sorted."""
    replaced: list[str] = []
    """Keys of runs that took the place of others, sorted."""
    skipped_runs: list[str] = []
    """Ids of runs that were left out, sorted: they exist, or their place is not free."""
    skipped_files: int = 0
    """Members without a place in a run."""
    stream: Stream | None = None
    """The store stream that tells of it."""


def import_archive(
    root: Path,
    state_dir: Path,
    file: BinaryIO,
    staging: Path | None,
    *,
    limits: Limits,
    overwrite: bool = False,
    tick: Callable[[int], None] = lambda _: None,
) -> Imported:
    """Import an archive through a staging directory of the root; without one, only find out what would be done.

    With `overwrite`, a run at the same path is replaced as a whole. `tick` hears how many bytes were unpacked. Blocks.
    UnusableArchive or StorageUnavailable if nothing was imported.
    """
    meter = Meter(limits, staging, tick)
    existing = _Existing(root, overwrite=overwrite)
    unpacked = Unpacked(staging, meter, existing.admits)
    try:
        for member in members_of(file, meter):
            unpacked.take(member)
        unpacked.finish()
        if staging is None:
            return _result(unpacked, set(unpacked.runs), existing)
        with only_import(root):
            existing = _Existing(root, overwrite=overwrite)  # somebody may have been quicker
            return _commit(root, FileLog(root, state_dir), unpacked, existing)
    except OSError as error:
        logger.error("an archive cannot be imported: %s", error)
        raise StorageUnavailable from error


class _Existing:
    """The runs of a root at one moment."""

    def __init__(self, root: Path, *, overwrite: bool) -> None:
        self._root = root
        self._overwrite = overwrite
        runs = list(find_runs(root))
        self._ids = {run.run_id for run in runs}
        self.keys = {run.key for run in runs}

    def admits(self, key: str) -> bool:
        """Whether a run may be imported."""
        if key in self.keys:
            return self._overwrite and not os.path.islink(self._root / key)
        return key.rpartition("/")[2] not in self._ids


def _result(unpacked: Unpacked, taken: Collection[str], existing: _Existing, stream: Stream | None = None) -> Imported:
    left = unpacked.unwanted.union(unpacked.runs).difference(taken)
    return Imported(
        files=sum(count for key, count in unpacked.runs.items() if key in taken),
        runs=sorted(key for key in taken if key not in existing.keys),
        replaced=sorted(key for key in taken if key in existing.keys),
        skipped_runs=sorted({key.rpartition("/")[2] for key in left}),
        skipped_files=unpacked.skipped_files,
        stream=stream,
    )


def _commit(root: Path, log: FileLog, unpacked: Unpacked, existing: _Existing) -> Imported:
    taken = [key for key in sorted(unpacked.runs) if existing.admits(key) and _is_free(root, key, existing)]
    known = {key for key, _ in events_about(log, set(taken))} | existing.keys.intersection(taken)
    for key in known:
        _touch(unpacked.path_of(key))
    # The events first: whoever sees a run knows all about it. Without the move, which now only a dying disk prevents,
    # they speak of a run that does not exist, and a second try records them again.
    recorder = Recorder(log)
    assert unpacked.events_directory is not None
    carried = CarriedEvents(unpacked.events_directory)
    recorder.carried(carried.about(set(taken)), known)
    for key in taken:
        recorder.imported(key, replaced=key in existing.keys)
    recorder.flush()
    _move(root, taken, unpacked, existing)
    restore_annotations(root, carried.about(set(taken)), known)
    return _result(unpacked, taken, existing, recorder.appended)


def _is_free(root: Path, key: str, existing: _Existing) -> bool:
    """Make the directory in which a run will be. False if that leads out of the root, or something else is there."""
    parent = (root / key).parent
    if not is_inside(root, parent):
        return False
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        return False
    return key in existing.keys or not os.path.lexists(root / key)


def _touch(run: Path) -> None:
    """Let the files of a run count from now on: this store has recorded something about an earlier run in its place."""
    now = time.time()
    for entry in os.scandir(run):
        if entry.is_file(follow_symlinks=False):
            os.utime(entry.path, (now, now))


def _move(root: Path, keys: Collection[str], unpacked: Unpacked, existing: _Existing) -> None:
    """Move all runs into place, or none."""
    moved: list[str] = []
    try:
        for key in keys:
            if key in existing.keys:
                exchange(unpacked.path_of(key), root / key, unpacked.aside_of(key))
            else:
                os.rename(unpacked.path_of(key), root / key)
            moved.append(key)
    except BaseException:
        for key in reversed(moved):
            with contextlib.suppress(OSError):
                if key in existing.keys:
                    exchange(unpacked.path_of(key), root / key, unpacked.aside_of(key))
                else:
                    os.rename(root / key, unpacked.path_of(key))
        raise
