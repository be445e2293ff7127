"""Putting run directories into the recycle bin, and removing them for good.

Nothing is written or deleted through a link that leaves the storage root: a run that is itself a link is only unlinked,
links inside a run are unlinked and never followed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path

from runicorn.errors import Conflict, Forbidden
from runicorn.fields import text
from runicorn.files import read_json_object, write_json
from runicorn.run_files import DELETED_FILE, STATUS_FILE, is_inside

_ATTEMPTS = 3  # a training process may add a file while its run is being removed


class RunIsLink(Conflict):
    """The run directory is a link; writing into it would change what it points to."""

    def __init__(self) -> None:
        super().__init__("run directory is a link")


class LinkLeavesRoot(Forbidden):
    """A directory above the run is a link to somewhere outside the storage root."""

    def __init__(self) -> None:
        super().__init__("run directory is outside of the storage root")


def soft_delete(root: Path, run_dir: Path, *, reason: str = "user_deleted") -> None:
    """Put a run into the recycle bin by writing its marker; nothing else changes.

    RunIsLink, LinkLeavesRoot, or OSError if the marker cannot be written. A run that is there already stays as it is.
    """
    if os.path.islink(run_dir):
        raise RunIsLink
    _check_inside(root, run_dir)
    marker = run_dir / DELETED_FILE
    if os.path.lexists(marker):
        return
    original = text((read_json_object(run_dir / STATUS_FILE) or {}).get("status")) or "unknown"
    write_json(marker, {"deleted_at": time.time(), "reason": reason, "original_status": original}, fsync=True)


def remove_run(root: Path, run_dir: Path) -> None:
    """Remove a run directory with everything in it; its parent directories stay.

    LinkLeavesRoot, or OSError if not everything could be removed. What then remains is in the recycle bin, even if this
    process dies half-way: nobody takes it for a whole run.
    """
    _check_inside(root, run_dir)
    if os.path.islink(run_dir):
        os.unlink(run_dir)
        return
    for attempts_left in reversed(range(_ATTEMPTS)):
        with contextlib.suppress(OSError):
            soft_delete(root, run_dir)
        try:
            _remove(run_dir)
            return
        except OSError:
            if not attempts_left:
                with contextlib.suppress(OSError):
                    soft_delete(root, run_dir)
                raise


def _remove(run_dir: Path) -> None:
    with os.scandir(run_dir) as entries:
        others = [entry for entry in entries if entry.name != DELETED_FILE]
    for entry in others:
        _remove_entry(Path(entry.path))
    if os.path.lexists(run_dir / DELETED_FILE):
        _remove_entry(run_dir / DELETED_FILE)
    os.rmdir(run_dir)


def _remove_entry(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _check_inside(root: Path, run_dir: Path) -> None:
    if not is_inside(root, run_dir.parent):
        raise LinkLeavesRoot
