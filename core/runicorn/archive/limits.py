"""How much an archive may hold, and the meter that ends an import beyond it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec

from runicorn.archive.errors import UnusableArchive
from runicorn.config import whole_numbers
from runicorn.errors import StorageUnavailable

_PREFIX = "RUNICORN_IMPORT_"
_SPARE_BYTES = 64 << 20  # of the disk: others write to it, too
_LOOK_EVERY_BYTES = 16 << 20


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Of one import."""

    upload_bytes: int = 4 << 30
    """Size of an archive that is sent over HTTP."""
    members: int = 200_000
    """Files, directories and everything else in it, skipped ones included."""
    unpacked_bytes: int = 64 << 30

    @classmethod
    def configured(cls) -> Limits:
        """The limits with what the environment says, such as `RUNICORN_IMPORT_MEMBERS=1000000`."""
        return cls(**whole_numbers(_PREFIX, cls.__struct_fields__))


class Meter:
    """Counts what comes out of one archive. `tick` hears of every piece of bytes; what it raises ends the import."""

    def __init__(self, limits: Limits, directory: Path | None, tick: Callable[[int], None]) -> None:
        self._limits = limits
        self._directory = directory
        self._tick = tick
        self._members = 0
        self._bytes = 0
        self._looked_at = -_LOOK_EVERY_BYTES

    @property
    def limits(self) -> Limits:
        """What is allowed."""
        return self._limits

    def member(self) -> None:
        """One more member, or one more directory that a member needs."""
        self._members += 1
        if self._members > self._limits.members:
            raise UnusableArchive("too many members")

    def unpacked(self, count: int) -> None:
        """So many more bytes. UnusableArchive beyond the limit, StorageUnavailable before the disk is full."""
        self._bytes += count
        if self._bytes > self._limits.unpacked_bytes:
            raise UnusableArchive("unpacked size too large")
        if self._directory is not None and self._bytes - self._looked_at >= _LOOK_EVERY_BYTES:
            self._looked_at = self._bytes
            check_space(self._directory, _LOOK_EVERY_BYTES)
        self._tick(count)


def check_space(directory: Path, needed: int) -> None:
    """StorageUnavailable if the disk of a directory has not so many bytes to spare."""
    if shutil.disk_usage(directory).free < needed + _SPARE_BYTES:
        raise StorageUnavailable
