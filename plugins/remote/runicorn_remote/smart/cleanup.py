"""Keeping a cache small: what can be brought again goes, least recently used first. Metadata stay."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec

from runicorn.plugin import EVENTS_FILE, LOGS_FILE
from runicorn_remote.smart.cache import Cache

MAX_CACHE_BYTES = 10 << 30

_TAILS = frozenset({EVENTS_FILE, LOGS_FILE})


class Cleaned(msgspec.Struct, frozen=True):
    """What was removed."""

    files_removed: int = 0
    bytes_freed: int = 0


def clean_up(cache: Cache, in_use: Collection[Path], max_bytes: int = MAX_CACHE_BYTES) -> Cleaned:
    """Remove downloads, events and logs until the cache is small enough; nothing below a directory that is `in_use`."""
    cache.measure()
    excess = cache.totals.size_bytes - max_bytes
    removed = freed = 0
    if excess > 0:
        for _, size, path in sorted(_removable(cache, in_use)):
            if freed >= excess:
                break
            with contextlib.suppress(OSError):
                path.unlink()
                removed += 1
                freed += size
        cache.measure()
    return Cleaned(removed, freed)


def _removable(cache: Cache, in_use: Collection[Path]) -> Iterator[tuple[float, int, Path]]:
    """When a file was used last, its size, and the file. (Modification times are those of the server.)"""
    for base, names in ((cache.directory / "downloads", None), (cache.experiments, _TAILS)):
        for folder, _, files in os.walk(base):
            directory = Path(folder)
            if any(directory == used or used in directory.parents for used in in_use):
                continue
            for name in files:
                if names is None or name in names:
                    with contextlib.suppress(OSError):
                        stat = (directory / name).lstat()
                        yield max(stat.st_atime, stat.st_ctime), stat.st_size, directory / name
