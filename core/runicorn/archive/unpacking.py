"""Unpacking the runs of an archive into a staging directory. Nothing outside of it is touched."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

from runicorn.archive.errors import UnusableArchive
from runicorn.archive.limits import Meter
from runicorn.archive.member import Member
from runicorn.archive.places import EVENTS_MEMBER, Place, is_safe, place_of
from runicorn.archive.staging import ASIDE

_READ_BYTES = 256 << 10
_MAX_EVENTS_BYTES = 1 << 30  # they go to the log of the store, for ever; a hundred thousand runs have a third of it


class Unpacked:
    """The runs of an archive that are wanted. Without a directory everything is read and checked, and nothing written."""

    def __init__(self, directory: Path | None, meter: Meter, is_wanted: Callable[[str], bool]) -> None:
        self.runs: dict[str, int] = {}
        """The files of each run, by key; a run may be an empty directory."""
        self.unwanted: set[str] = set()
        """Keys of runs that are in the archive and were left in it."""
        self.skipped_files = 0
        """What has no place in a run."""
        self._directory = directory
        if directory is not None:
            (directory / "runs").mkdir()
        self._meter = meter
        self._is_wanted = is_wanted
        self._directories: dict[str, float | None] = {}
        self._files: set[str] = set()

    def path_of(self, key: str) -> Path:
        """Where a run was unpacked. Not for a trial."""
        assert self._directory is not None
        return self._directory / "runs" / key

    def aside_of(self, key: str) -> Path:
        """Where the run that an unpacked one replaces may be for a moment. Not for a trial."""
        assert self._directory is not None
        return self._directory / ASIDE / key

    @property
    def events_directory(self) -> Path | None:
        """Where `events.jsonl` holds what the store said about the runs, if the archive tells."""
        return None if self._directory is None else self._directory / "store"

    def take(self, member: Member) -> None:
        """Unpack one member, or count it as skipped."""
        if member.kind == "file" and member.name.removeprefix("./") == EVENTS_MEMBER:
            self._take_events(member)
            return
        place = place_of(member.name)
        if member.kind == "other" or place is None or (member.kind == "file" and not place.path):
            # Directories above the runs belong to every archive, and are no loss.
            self.skipped_files += member.kind != "directory" or not is_safe(member.name)
        elif not self._is_wanted(place.key):
            self.unwanted.add(place.key)
        elif member.kind == "directory":
            if self._make_directories(place, is_directory=True):
                self._directories[_joined(place)] = _sane(member.modified)
            else:
                self.skipped_files += 1
        elif not self._take_file(place, member):
            self.skipped_files += 1

    def finish(self) -> None:
        """All members were taken: directories get the times that they had, the inner ones first."""
        if self._directory is not None:
            for name, modified in sorted(self._directories.items(), reverse=True):
                if modified is not None:
                    os.utime(self._directory / "runs" / name, (modified, modified))

    def _take_file(self, place: Place, member: Member) -> bool:
        name = _joined(place)
        if name in self._directories or not self._make_directories(place, is_directory=False):
            return False
        if self._directory is not None:
            try:
                _write(self._directory / "runs" / name, member)
            except OSError as error:
                if error.errno in _NO_SUCH_NAMES:
                    return False
                raise
        else:
            _discard(member)
        if name not in self._files:
            self._files.add(name)
            self.runs[place.key] += 1
        return True

    def _make_directories(self, place: Place, *, is_directory: bool) -> bool:
        """The directories down to a place; False where a file is in the way."""
        parts = _joined(place).split("/")
        for depth in range(1, len(parts) + is_directory):
            name = "/".join(parts[:depth])
            if name in self._files:
                return False
            if name not in self._directories:
                self._meter.member()
                if self._directory is not None:
                    path = self._directory / "runs" / name
                    path.mkdir()
                    os.chmod(path, 0o755)  # whatever the mask of this process
                self._directories[name] = None
        self.runs.setdefault(place.key, 0)
        return True

    def _take_events(self, member: Member) -> None:
        if member.size > _MAX_EVENTS_BYTES:
            raise UnusableArchive("unpacked size too large")
        directory = self.events_directory
        if directory is None:
            _discard(member)
        else:
            directory.mkdir(exist_ok=True)
            _write(directory / "events.jsonl", member)


_NO_SUCH_NAMES = frozenset({errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL})


def _joined(place: Place) -> str:
    return f"{place.key}/{place.path}" if place.path else place.key


def _sane(modified: float) -> float | None:
    """A time that a file may have had; None if it is none."""
    return modified if 0 < modified <= time.time() else None


def _write(path: Path, member: Member) -> None:
    with contextlib.suppress(FileNotFoundError):
        path.unlink()  # of two members with one name the second counts, as with other programs
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(path, "wb", buffering=0, opener=lambda name, _: os.open(name, flags, 0o600)) as file:
        while data := member.read(_READ_BYTES):
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
        os.fchmod(file.fileno(), 0o644)
        modified = _sane(member.modified)
        if modified is not None:
            os.utime(file.fileno(), (modified, modified))


def _discard(member: Member) -> None:
    while member.read(_READ_BYTES):
        pass
