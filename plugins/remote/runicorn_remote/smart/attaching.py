"""Showing a cache among the runs of a storage root: a link below `.mirrors`, which discovery follows for reading.

The link goes when the mode ends, and at the next start if a process was killed: what is attached is listed, what is not is
gone from the lists. The cache itself stays.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from runicorn.plugin import MIRRORS, RunMirrored, StorageUnavailable
from runicorn_remote.smart.cache import Cache

LINK = "attached"

_TOLD_AT_ONCE = 1000


def attach(root: Path, cache: Cache) -> None:
    """Show the runs of a cache in a storage root. StorageUnavailable if the root cannot be written."""
    link = _link(root, cache.key)
    try:
        link.parent.mkdir(parents=True, exist_ok=True)
        os.chmod(link.parent, 0o700)
        with contextlib.suppress(FileNotFoundError):
            if os.readlink(link) == os.fspath(cache.experiments):
                return
            os.unlink(link)
        os.symlink(cache.experiments, link)
    except OSError as error:
        raise StorageUnavailable("The storage root cannot show a remote one: it is not writable") from error


def detach_all(root: Path) -> None:
    """Show no cache any more."""
    with contextlib.suppress(OSError):
        for entry in (root / MIRRORS).iterdir():
            link = entry / LINK
            if link.is_symlink():
                link.unlink()
                with contextlib.suppress(OSError):  # where a mirror keeps its own there, it stays
                    entry.rmdir()


def tell_origins(root: Path, cache: Cache, record: Callable[..., object]) -> None:
    """Record where the runs of a cache come from, those of which the log of the root does not know it."""
    untold = cache.untold_runs(root)
    for start in range(0, len(untold), _TOLD_AT_ONCE):
        runs = untold[start : start + _TOLD_AT_ONCE]
        prefix = f"{MIRRORS}/{cache.key}/{LINK}"
        record(
            *(RunMirrored(run=f"{prefix}/{run}", run_id=run.rpartition("/")[2], source=cache.source) for run in runs)
        )
        cache.set_told(root, runs)


def run_in(cache: Cache, key: str) -> str | None:
    """The run of a cache that a key of the storage root names."""
    prefix = f"{MIRRORS}/{cache.key}/{LINK}/"
    return key.removeprefix(prefix) if key.startswith(prefix) else None


def _link(root: Path, key: str) -> Path:
    return root / MIRRORS / key / LINK
