"""Where a run is on disk, and making its directory."""

from __future__ import annotations

import contextlib
import os
from functools import cached_property
from pathlib import Path

import msgspec

from runicorn.config import storage_root
from runicorn.errors import InvalidName, StorageUnavailable, shown
from runicorn.events.discovery import EVENTS_FILE, MIRRORS, find_run_parents
from runicorn.files import file_lock, parse_json
from runicorn.names import check_project, check_segment, new_run_id
from runicorn.process_identity import host_name
from runicorn.run_files import DELETED_FILE, MEDIA_DIRECTORY, META_FILE, STATUS_FILE, is_inside

_DEFAULT = "default"
_DISCARD_LOCK_S = 2.0
_ONE_EVENT_BYTES = 1 << 16


class StorageNotWritable(StorageUnavailable, OSError):
    """A run cannot be created: no permission, no space, a read-only file system. The cause says which file.

    Also an `OSError`. `init` raises it, because a training that silently records nothing is worse than one that does
    not start; once a run exists, storage errors are only warned about.
    """


class RunFolders(msgspec.Struct, frozen=True, dict=True):
    """The folders of one run, all absolute."""

    storage_root: Path
    project: str
    name: str
    run_id: str
    is_new: bool = True
    """Whether the directory was made just now."""
    namesake: str | None = None
    """Where below the root another run has the id of this new one."""

    @cached_property
    def project_dir(self) -> Path:
        """All runs of the project."""
        return self.storage_root / self.project

    @cached_property
    def experiment_dir(self) -> Path:
        """All runs of this name in the project."""
        return self.project_dir / self.name

    @cached_property
    def runs_dir(self) -> Path:
        """The parent of the run directory."""
        return self.experiment_dir / "runs"

    @cached_property
    def run_dir(self) -> Path:
        """The run's own files."""
        return self.runs_dir / self.run_id

    @cached_property
    def media_dir(self) -> Path:
        """Images of the run."""
        return self.run_dir / MEDIA_DIRECTORY

    def is_present(self) -> bool:
        """Whether the run is there: it was created, and not purged since (nor is being purged just now)."""
        directory = os.fspath(self.run_dir)
        return os.path.lexists(f"{directory}/{EVENTS_FILE}") or os.path.lexists(f"{directory}/{META_FILE}")


def make_run_directory(
    project: str | None, storage: str | os.PathLike[str] | None, run_id: str | None, name: str | None
) -> RunFolders:
    """Make the directory of a new run, or take the one that exists for the given id.

    Empty project and name mean `default`, no id a generated one. InvalidName (a ValueError) for names that must not
    become directories, for the id of a run in the recycle bin, and where a link leads out of the storage root: then
    nothing was created. StorageNotWritable if the directory cannot be made. For the namesake of a new run with a given
    id, the parent directories of all runs are listed.
    """
    project = _checked(project or _DEFAULT, "project name")
    check_project(project)
    name = _checked(name or _DEFAULT, "experiment name")
    if run_id is not None:
        _checked(run_id, "run_id")
    root = storage_root(storage)
    while True:
        folders = RunFolders(root, project, name, run_id if run_id is not None else new_run_id())
        _check_place(folders)
        if run_id is not None and not os.path.exists(folders.run_dir):
            folders = msgspec.structs.replace(folders, namesake=_namesake(root, run_id))
        try:
            folders.runs_dir.mkdir(parents=True, exist_ok=True)
            try:
                folders.run_dir.mkdir()
            except FileExistsError:
                if run_id is None:  # somebody drew the same id within this second
                    continue
                if not folders.run_dir.is_dir():
                    raise
                folders = msgspec.structs.replace(folders, is_new=False)
            folders.media_dir.mkdir(exist_ok=True)
        except OSError as error:
            raise not_writable(folders, error) from error
        return folders


def not_writable(folders: RunFolders, error: OSError) -> StorageNotWritable:
    """Why a run cannot be created, and in which storage root."""
    root = os.fspath(folders.storage_root)
    return StorageNotWritable(
        f"The run cannot be created in {root if root.isprintable() else repr(root)}: {error.strerror or 'storage error'}"
    )


def discard_run_directory(folders: RunFolders) -> None:
    """Take a new run back that could not be begun, so that no list shows an empty one.

    Another process that was given the same id may have joined the run meanwhile: then it stays as it is.
    """
    if not folders.is_new:
        return
    stream = os.fspath(folders.run_dir / EVENTS_FILE)
    with contextlib.suppress(OSError), file_lock(f"{stream}.lock", timeout_s=_DISCARD_LOCK_S):
        if not _holds_only_ours(stream):
            return
        # Last of all the lock file: who waits for it finds the stream gone, and the run cannot be begun there either.
        for name in (META_FILE, STATUS_FILE, f"{STATUS_FILE}.lock", EVENTS_FILE, f"{EVENTS_FILE}.lock"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(folders.run_dir / name)
        folders.media_dir.rmdir()
        folders.run_dir.rmdir()


def _holds_only_ours(stream: str) -> bool:
    try:
        with open(stream, "rb") as file:
            content = file.read(_ONE_EVENT_BYTES)
        data = parse_json(content)["data"] if content else {}  # two lines are no JSON
    except FileNotFoundError:
        return True
    except (ValueError, TypeError, KeyError):
        return False
    return not content or (data.get("pid"), data.get("hostname")) == (os.getpid(), host_name())


def _checked(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise InvalidName(f"Invalid {what}: {shown(repr(value))}")
    return check_segment(value, what)


def _namesake(root: Path, run_id: str) -> str | None:
    """Where another run has this id; InvalidName if one that has it is in the recycle bin."""
    found: str | None = None
    for parent in find_run_parents(root):
        if parent.key.startswith(f"{MIRRORS}/"):
            break  # runs of other machines, which come last: of the same id, the run that is made here is meant
        key = f"{parent.key}/{run_id}"
        run_dir = os.path.join(root, key)
        if not os.path.isdir(run_dir) or (parent.needs_meta and not os.path.exists(f"{run_dir}/{META_FILE}")):
            continue
        if os.path.lexists(f"{run_dir}/{DELETED_FILE}"):
            raise InvalidName(f"Invalid run_id: {run_id!r} is in the recycle bin ({key})")
        found = found or key
    return found


def _check_place(folders: RunFolders) -> None:
    run_dir = folders.run_dir
    if os.path.lexists(run_dir / DELETED_FILE):
        raise InvalidName(f"Invalid run_id: {shown(run_dir.name)!r} is in the recycle bin")
    if not is_inside(folders.storage_root, run_dir):
        raise InvalidName(f"Invalid run_id: {shown(run_dir.name)!r} would be outside of the storage root (a link)")
