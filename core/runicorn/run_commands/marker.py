"""The marker that puts a run into the recycle bin, and where in a storage root nothing may be written.

A marker is prepared beside its place (`.deleted.….tmp`), told to the log, and then moved to its place; out of the bin it
goes the same way back. Whoever looks in between sees the prepared one; a process that dies in between leaves it, and the
run stays what the log says it is.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from runicorn.errors import Conflict, Forbidden
from runicorn.fields import number, text
from runicorn.files import TEMPORARY, as_file, name_beside, read_json_object, sync_directory, write_temporary
from runicorn.run_files import DELETED_FILE, STATUS_FILE, is_inside

USER_DELETED = "user_deleted"
"""The reason of a deletion for which no other is given."""

_UNKNOWN = "unknown"


class RunIsLink(Conflict):
    """The run directory is a link; writing into it would change what it points to."""

    def __init__(self) -> None:
        super().__init__("run directory is a link")


class LinkLeavesRoot(Forbidden):
    """A directory above the run is a link to somewhere outside the storage root."""

    def __init__(self) -> None:
        super().__init__("run directory is outside of the storage root")


class Deletion(msgspec.Struct, frozen=True):
    """The run is in the recycle bin since `at`."""

    at: float | None = None
    reason: str = _UNKNOWN
    original_status: str = _UNKNOWN

    @classmethod
    def read(cls, content: Mapping[str, Any], mtime: float) -> Deletion:
        """From the content of a marker; an odd one counts since it was written."""
        at = number(content.get("deleted_at"))
        return cls(
            mtime if at is None else at,
            text(content.get("reason")) or _UNKNOWN,
            text(content.get("original_status")) or _UNKNOWN,
        )

    @classmethod
    def now(cls, run_dir: Path, reason: str) -> Deletion:
        """Of a run that is deleted now."""
        status = (read_json_object(run_dir / STATUS_FILE) or {}).get("status")
        return cls(time.time(), reason, text(status) or _UNKNOWN)

    @classmethod
    def stored(cls, run_dir: Path) -> Deletion | None:
        """What the marker of a run says; None if there is none."""
        marker = run_dir / DELETED_FILE
        try:
            mtime = os.lstat(marker).st_mtime
        except OSError:
            return None
        return cls.read(read_json_object(marker) or {}, mtime)

    def content(self) -> dict[str, Any]:
        """What a marker holds."""
        return {"deleted_at": self.at, "reason": self.reason, "original_status": self.original_status}


def check_place(root: Path, run_dir: Path) -> None:
    """RunIsLink or LinkLeavesRoot if nothing may be written into the run directory."""
    if os.path.islink(run_dir):
        raise RunIsLink
    check_parent(root, run_dir)


def check_parent(root: Path, run_dir: Path) -> None:
    """LinkLeavesRoot if the run directory is not really below the root."""
    if not is_inside(root, run_dir.parent):
        raise LinkLeavesRoot


def is_marked(run_dir: Path) -> bool:
    """Whether the run is in the recycle bin, whatever its marker says."""
    return os.path.lexists(run_dir / DELETED_FILE)


def prepare(run_dir: Path, deletion: Deletion) -> str:
    """Write a marker beside its place, durably; its path, for `publish`. OSError as it comes."""
    return write_temporary(run_dir / DELETED_FILE, as_file(deletion.content()), fsync=True)


def publish(prepared: str, run_dir: Path) -> None:
    """Move a prepared marker to its place. OSError as it comes."""
    os.replace(prepared, run_dir / DELETED_FILE)


def prepared_markers(run_dir: Path) -> list[Path]:
    """Prepared markers in a run directory: of a command that is on its way, or was killed."""
    try:
        names = os.listdir(run_dir)
    except OSError:
        return []
    return [run_dir / name for name in names if name.startswith(f"{DELETED_FILE}.") and name.endswith(TEMPORARY)]


def prepared_deletions(run_dir: Path) -> list[Deletion]:
    """What the prepared markers in a run directory say."""
    found: list[Deletion] = []
    for path in prepared_markers(run_dir):
        with contextlib.suppress(OSError):
            found.append(Deletion.read(read_json_object(path) or {}, os.lstat(path).st_mtime))
    return found


def withdraw(run_dir: Path) -> str | None:
    """Move the marker of a run, whatever lies in its place, back beside it, durably; its path there, None if there is none.

    The run is then where a deletion is before `publish`, which undoes this. OSError as it comes.
    """
    withdrawn = name_beside(run_dir / DELETED_FILE)
    try:
        os.rename(run_dir / DELETED_FILE, withdrawn)
    except FileNotFoundError:
        return None
    # Else a machine crash could bring the marker back beside an event that says that it is gone.
    with contextlib.suppress(OSError):
        sync_directory(run_dir)
    return withdrawn


def remove_prepared(run_dir: Path) -> None:
    """Remove all markers beside their place. OSError as it comes."""
    for path in prepared_markers(run_dir):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
