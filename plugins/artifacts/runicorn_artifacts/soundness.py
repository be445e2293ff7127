"""Whether versions are whole, for lists of them: the answer for one costs a look at each of its files.

Lists of a few thousand files are looked at for each request. Beyond that a version that was found whole is trusted for a
minute, as long as nobody touches its metadata, its manifest or the directories that hold its files. For threads.
"""

from __future__ import annotations

import os
import threading
import time
import zlib
from collections.abc import Sequence

import msgspec

from runicorn.plugin import Store
from runicorn_artifacts.folder import FILES, MANIFEST_FILE, METADATA_FILE, ArtifactFolder, Status
from runicorn_artifacts.queries import ListedVersion

_ALWAYS_LOOKED_AT = 20_000
"""So many files of one list: a look takes about a tenth of a second."""

_TRUSTED_S = 60.0
_REMEMBERED = 100_000
_MAX_DIRECTORIES = 64
"""Versions with more are not remembered: to look at those costs as much as to look at the files."""


class _Whole(msgspec.Struct, frozen=True, gc=False):
    """What a version looked like when all of its files were there."""

    directories: str
    stamp: int
    until: float


class KnownSoundness:
    """What was found out about versions. `Store.own` makes it."""

    def __init__(self, store: Store) -> None:
        del store  # each has its own
        self._lock = threading.Lock()
        self._whole: dict[tuple[str, int], _Whole] = {}

    def statuses(self, folder: ArtifactFolder, rows: Sequence[ListedVersion]) -> list[Status]:
        """The status of each of these versions of an artifact."""
        is_long = sum(row.num_files for row in rows if not row.is_deleted) > _ALWAYS_LOOKED_AT
        return [self._status(folder, row, is_long=is_long) for row in rows]

    def _status(self, folder: ArtifactFolder, row: ListedVersion, *, is_long: bool) -> Status:
        if row.is_deleted or row.is_damaged or not is_long:
            return status_of(folder, row)
        place, now = (os.fspath(folder.path), row.version), time.monotonic()
        version = os.fspath(folder.version_path(row.version))
        with self._lock:
            known = self._whole.pop(place, None)
        if known is None or known.until < now or known.stamp != _stamp(version, known.directories):
            known = _look(folder, row.version, now + _TRUSTED_S)
        if known is None:
            return status_of(folder, row)
        with self._lock:
            while len(self._whole) >= _REMEMBERED:
                del self._whole[next(iter(self._whole))]
            self._whole[place] = known
        return "ready"


def status_of(folder: ArtifactFolder, row: ListedVersion) -> Status:
    """The status of a version, found out by a look at every file."""
    if row.is_deleted:
        return "deleted"
    return "ready" if not row.is_damaged and folder.is_sound(row.version) else "corrupted"


def _look(folder: ArtifactFolder, version: int, until: float) -> _Whole | None:
    """None if the version is not whole, or is not to be remembered."""
    manifest = folder.manifest(version)
    if manifest is None:
        return None
    found = {entry.path.rpartition("/")[0] for entry in manifest.content.files}
    if len(found) > _MAX_DIRECTORIES:
        return None
    directories = "\0".join(sorted(found))
    stamp = _stamp(
        os.fspath(folder.version_path(version)), directories
    )  # before the look: what changes meanwhile counts
    return _Whole(directories, stamp, until) if folder.is_sound(version) else None


def _stamp(version: str, directories: str) -> int:
    """A number that changes when metadata or manifest do, or a file comes, goes or is replaced."""
    told = [f"{version}/{METADATA_FILE}", f"{version}/{MANIFEST_FILE}"]
    told += [f"{version}/{FILES}/{directory}" for directory in directories.split("\0")]
    stamp = 0
    for path in told:
        try:
            found = os.stat(path)
            text = f"{found.st_mtime_ns} {found.st_ctime_ns} {found.st_size} {found.st_ino}"
        except OSError:
            text = "-"
        stamp = zlib.crc32(text.encode(), stamp)
    return stamp
