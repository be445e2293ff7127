"""The runs of a storage root here, and the files of each in the order in which they are pushed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import apsw
import msgspec

from runicorn.plugin import DELETED_FILE, META_FILE, MIRRORS, STATUS_FILE
from runicorn_remote.mirror.units import is_append_only, is_wanted
from runicorn_remote.paths import is_safe_path


class LocalFile(msgspec.Struct, frozen=True):
    """A file of a run; `path` is relative to the storage root."""

    path: str
    size: int
    mtime_ns: int


def local_runs(root: Path) -> list[str]:
    """The keys of all runs that were made here, in order: none of the recycle bin, none that a mirror has brought."""
    mirrored = _mirrored_units(root)
    found = [path.relative_to(root).as_posix() for path in (*root.glob("*/*/runs/*"), *root.glob("runs/*"))]
    return sorted(
        key
        for key in found
        if key not in mirrored
        and not key.startswith((".", "artifacts/", "sweeps/"))
        and (root / key).is_dir()
        and not (root / key / DELETED_FILE).exists()
    )


def files_of(root: Path, key: str) -> list[LocalFile]:
    """The files of a run: streams first, its status last, so that nobody there sees an end before what led to it.

    `meta.json`, which tells whose a run is, is first of the others.
    """
    found = [file for file in _walk(root, key) if is_wanted(file.path) and is_safe_path(file.path.split("/"))]
    status, meta = f"{key}/{STATUS_FILE}", f"{key}/{META_FILE}"
    return sorted(
        found, key=lambda file: (file.path == status, not is_append_only(file.path), file.path != meta, file.path)
    )


def _walk(root: Path, key: str) -> Iterator[LocalFile]:
    folders = [key]
    while folders:
        folder = folders.pop()
        with contextlib.suppress(OSError), os.scandir(root / folder) as entries:
            for entry in entries:
                path = f"{folder}/{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    folders.append(path)
                elif entry.is_file(follow_symlinks=False):
                    stat = entry.stat(follow_symlinks=False)
                    yield LocalFile(path, stat.st_size, stat.st_mtime_ns)


def _mirrored_units(root: Path) -> set[str]:
    units: set[str] = set()
    for path in root.glob(f"{MIRRORS}/*/state.db"):
        with contextlib.suppress(apsw.Error):
            db = apsw.Connection(os.fspath(path), apsw.SQLITE_OPEN_READONLY)
            try:
                units.update(str(unit) for (unit,) in db.execute("SELECT path FROM unit WHERE in_place"))
            finally:
                db.close()
    return units
