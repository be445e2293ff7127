"""Changing the artifacts of a server by SFTP: the same files change as they do where an artifact is at home.

Whoever changes an artifact holds the lock of its index; a process at the server that uses Runicorn 0.5 holds another one,
which SFTP cannot take, and observes afterwards what the files say. The copies here are changed in the same call.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import stat
import threading
import time
from collections.abc import Callable, Generator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from runicorn.plugin import DELETED_FILE, NotFound, RunicornError, shown
from runicorn_remote.channels import translated
from runicorn_remote.errors import OperationFailed, RemoteError, RemotePathNotFound
from runicorn_remote.looking import Looking
from runicorn_remote.paths import is_safe_name
from runicorn_remote.smart import index as indexes
from runicorn_remote.smart.adapter import Adapter
from runicorn_remote.smart.cache import Seen
from runicorn_remote.smart.places import ARTIFACTS
from runicorn_remote.smart.pool import digests_in, remove_unused
from runicorn_remote.smart.remote_json import NotAnObject, locked, read_object, replace_json

if TYPE_CHECKING:
    from paramiko.sftp_client import SFTPClient

logger = logging.getLogger("runicorn.remote")

INDEX_FILE = "versions.json"

_MAX_MANIFEST_BYTES = 64 << 20
_MAX_MARKER_BYTES = 64 << 10
_MAX_DEPTH = 200  # of a path there: a server may have folders without end
_turn = threading.Lock()
"""Of this process: others are kept out by the lock on the server."""


class NoSuchVersion(NotFound):
    """The server does not have it, or it is soft-deleted there."""

    def __init__(self, name: str, number: int) -> None:
        super().__init__(f"Artifact version not found: {shown(name)}:v{number}")


class ChangeFailed(RemoteError):
    """The server did not take a change; nothing has changed."""

    status, code = 503, "change_failed"

    def __init__(self, what: str) -> None:
        super().__init__(f"Failed to {what} on remote server")


def soft_delete(adapter: Adapter, key: str, version: int) -> None:
    """Mark a version as deleted; the first marker stays. NoSuchVersion, RemoteLocked, ChangeFailed."""
    with _changing(adapter, key, "delete version", version) as there:
        marker = f"v{version}/{DELETED_FILE}"
        if not there.exists(marker):
            name = key.rpartition("/")[2]
            said = {"deleted_at": time.time(), "deleted_by": "user", "version": version, "artifact_name": name}
            there.replace(marker, said)
        else:
            there.copy(marker)
        if there.index is not None:
            indexes.set_deleted(there.index, version, True)
            there.replace(INDEX_FILE, there.index)


def restore(adapter: Adapter, key: str, version: int) -> None:
    """Take back a soft deletion; nothing happens if there is none. NoSuchVersion, RemoteLocked, ChangeFailed."""
    with _changing(adapter, key, "restore version", version) as there:
        there.remove(f"v{version}/{DELETED_FILE}")
        if there.index is not None:
            indexes.set_deleted(there.index, version, False)
            there.replace(INDEX_FILE, there.index)


def purge(adapter: Adapter, key: str, version: int) -> int:
    """Remove a version for good, with contents that only it had; the bytes that were freed.

    NoSuchVersion, RemoteLocked, ChangeFailed: then it is there. What a lost connection leaves in the staging area of the
    server is not part of any artifact, and is removed there after a day.
    """
    with _changing(adapter, key, "delete version", version) as there:
        digests = there.digests(version)
        staging = there.move_away(version)
        if there.index is not None:
            indexes.remove_version(there.index, version)
            try:
                there.replace(INDEX_FILE, there.index)
            except BaseException:
                there.move_back(staging, version)
                raise
    adapter.cache.remove_version(f"{key}/v{version}")
    try:
        sftp = adapter.connection.open_sftp()
        try:
            removed = _remove_tree(sftp, staging)
            freed = remove_unused(adapter.connection, sftp, adapter.source.root, adapter.cache, digests)
        finally:
            sftp.close()
    except (RunicornError, OSError) as error:
        logger.warning("contents of a version that is gone could not be removed: %s", error)
        return 0
    return removed if freed is None else freed


def set_alias(adapter: Adapter, key: str, alias: str, version: int | None) -> None:
    """Let an alias point to a version, or (None) to none. NoSuchVersion, also if it is soft-deleted; RemoteLocked,
    ChangeFailed.
    """
    with _changing(adapter, key, "set alias", version, is_ready=True) as there:
        if there.index is None:
            raise ChangeFailed("set alias")
        if version is not None and not indexes.has_version(there.index, version):
            raise there.no_such(version)
        indexes.set_alias(there.index, alias, version)
        there.replace(INDEX_FILE, there.index)


def change_metadata(adapter: Adapter, key: str, version: int, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the metadata of a version. NoSuchVersion, also if it is soft-deleted; RemoteLocked, ChangeFailed."""
    file = f"v{version}/metadata.json"
    with _changing(adapter, key, "add tags", version, is_ready=True, file=file) as there:
        metadata = there.read(file)
        change(metadata)
        there.replace(file, metadata)


class _There:
    """One artifact on the server; whoever has it holds the lock of its index. Paths are relative to its directory."""

    def __init__(self, sftp: SFTPClient, adapter: Adapter, key: str) -> None:
        self._sftp = sftp
        self._adapter = adapter
        self._key = key
        self._root = adapter.source.root.rstrip("/")
        self._directory = f"{self._root}/{key}"

    @cached_property
    def index(self) -> indexes.Index | None:
        """What the index holds; None if there is none that can be read: then folders alone say which versions there are."""
        try:
            return self.read(INDEX_FILE)
        except (RemotePathNotFound, NotAnObject):
            return None

    def check(self, version: int, is_ready: bool) -> None:
        """NoSuchVersion, unless the version is there, and is not soft-deleted if that matters."""
        if not self.exists(f"v{version}") or (is_ready and self.exists(f"v{version}/{DELETED_FILE}")):
            raise self.no_such(version)

    def no_such(self, version: int) -> NoSuchVersion:
        """The error for a version that is not there."""
        return NoSuchVersion(self._key.rpartition("/")[2], version)

    def exists(self, path: str) -> bool:
        """Whether there is anything of that name."""
        try:
            with translated(path):
                self._sftp.lstat(f"{self._directory}/{path}")
        except RemotePathNotFound:
            return False
        return True

    def read(self, path: str) -> dict[str, Any]:
        """The object in a JSON file."""
        return read_object(self._sftp, f"{self._directory}/{path}")

    def replace(self, path: str, content: dict[str, Any]) -> None:
        """Write a JSON file, there and in the cache."""
        self._keep(path, replace_json(self._sftp, f"{self._directory}/{path}", content))

    def copy(self, path: str) -> None:
        """Have a small file in the cache as it is there."""
        with translated(path), self._sftp.open(f"{self._directory}/{path}", "rb") as file:
            self._keep(path, file.read(_MAX_MARKER_BYTES))

    def remove(self, path: str) -> None:
        """Remove a file, there and in the cache; one that is not there is no error."""
        with contextlib.suppress(RemotePathNotFound), translated(path):
            self._sftp.remove(f"{self._directory}/{path}")
        place = f"{self._key}/{path}"
        with self._adapter.cache.tree.place(place) as local:
            local.remove()
        self._adapter.cache.commit({}, [place])

    def _keep(self, path: str, data: bytes) -> None:
        cache, place = self._adapter.cache, f"{self._key}/{path}"
        with cache.tree.place(place) as local, local.replacement() as replacement:
            replacement.write([data])
            replacement.install()
        # Young: the next sync compares, and a file that goes meanwhile is missed then.
        cache.commit({place: Seen(len(data), 0, True)}, [])

    def digests(self, version: int) -> set[str]:
        """Contents that the manifest of a version names."""
        path = f"{self._directory}/v{version}/manifest.json"
        with contextlib.suppress(RemotePathNotFound), translated(), self._sftp.open(path, "rb") as file:
            return digests_in(file.read(_MAX_MANIFEST_BYTES))
        return set()

    def move_away(self, version: int) -> str:
        """Move the folder of a version into the staging area, atomically; where it is then."""
        area = f"{self._root}/{ARTIFACTS}/.tmp"
        staging = f"{area}/{secrets.token_hex(8)}"
        if not _exists(self._sftp, area):
            with translated(area):
                self._sftp.mkdir(area)
        with translated(staging):
            self._sftp.mkdir(staging)
            self._sftp.posix_rename(f"{self._directory}/v{version}", f"{staging}/version")
        return staging

    def move_back(self, staging: str, version: int) -> None:
        """Undo `move_away`, as far as the connection allows."""
        with contextlib.suppress(Exception):
            self._sftp.posix_rename(f"{staging}/version", f"{self._directory}/v{version}")
            self._sftp.rmdir(staging)


@contextlib.contextmanager
def _changing(
    adapter: Adapter,
    key: str,
    what: str,
    version: int | None,
    *,
    is_ready: bool = False,
    file: str = INDEX_FILE,
) -> Generator[_There]:
    root = adapter.source.root.rstrip("/")
    try:
        sftp = adapter.connection.open_sftp()
        try:
            there = _There(sftp, adapter, key)
            with _turn:
                if version is not None:
                    there.check(version, is_ready)
                with locked(sftp, f"{root}/{key}/{file}"):
                    yield there
        finally:
            sftp.close()
    except (OperationFailed, OSError) as error:
        raise ChangeFailed(what) from error
    finally:
        adapter.cache.note_change()


def _exists(sftp: SFTPClient, path: str) -> bool:
    try:
        with translated(path):
            sftp.lstat(path)
    except RemotePathNotFound:
        return False
    return True


def _remove_tree(sftp: SFTPClient, path: str) -> int:
    """Remove a directory with all that is in it, links not followed; the sizes of the files."""
    size = 0
    with translated(path):
        for entry in Looking(sftp).list(path):
            inner = f"{path}/{entry.name}"
            if stat.S_ISDIR(entry.stat.mode) and is_safe_name(entry.name) and path.count("/") < _MAX_DEPTH:
                size += _remove_tree(sftp, inner)
            elif is_safe_name(entry.name):
                sftp.remove(inner)
                size += entry.stat.size if "/version/files/" in inner else 0
        sftp.rmdir(path)
    return size
