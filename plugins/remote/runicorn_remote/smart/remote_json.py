"""Changing a JSON file on a server, by SFTP alone: one writer at a time, and readers see the old or the new content.

The lock is a file beside it, created exclusively: `<file>.lock`. One that is older than a minute, by the server's clock, was
left by somebody who was killed.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import stat
import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, cast

from runicorn.plugin import Conflict, parse_json
from runicorn_remote.channels import translated
from runicorn_remote.errors import OperationFailed, RemotePathNotFound

if TYPE_CHECKING:
    from paramiko.sftp_client import SFTPClient

LOCK_WAIT_S = 10.0

_STALE_S = 60
_PAUSE_S = 0.1
_MAX_BYTES = 16 << 20


class RemoteLocked(Conflict):
    """Somebody else is changing it."""

    def __init__(self) -> None:
        super().__init__("Artifact is locked on the remote server")


class NotAnObject(OperationFailed):
    """The file holds something else than a JSON object."""

    status, code = 503, "unusable"


@contextlib.contextmanager
def locked(sftp: SFTPClient, path: str) -> Generator[None]:
    """Hold the lock of a file on the server. RemoteLocked if somebody else has it for ten seconds."""
    lock = f"{path}.lock"
    deadline = time.monotonic() + LOCK_WAIT_S
    while not _create(sftp, lock):
        since = _mtime(sftp, lock)
        if since is not None and _now(sftp, path) - since > _STALE_S and _take_away(sftp, lock):
            continue
        if time.monotonic() >= deadline:
            raise RemoteLocked
        time.sleep(_PAUSE_S)
    try:
        yield
    finally:
        with contextlib.suppress(Exception):  # with a lost connection it stays, and is stale in a minute
            sftp.remove(lock)


def _take_away(sftp: SFTPClient, lock: str) -> bool:
    """Remove a lock that was left behind; False if it is held again.

    Several may see at once that it is old. Only one of them moves it; what another one moves is the lock of the first, and
    is put back.
    """
    with _temporary(sftp, lock.removesuffix(".lock")) as aside:
        try:
            with translated(lock):
                sftp.posix_rename(lock, aside)
        except RemotePathNotFound:
            return True
        since = _mtime(sftp, aside)
        if since is None or _now(sftp, lock.removesuffix(".lock")) - since > _STALE_S:
            return True
        with contextlib.suppress(OSError):  # a third one was quicker
            sftp.rename(aside, lock)
        return False


def read_object(sftp: SFTPClient, path: str) -> dict[str, Any]:
    """The object in a JSON file. NotAnObject, or another OperationFailed."""
    with translated(path), sftp.open(path, "rb") as file:
        data = file.read(_MAX_BYTES)
    try:
        content = parse_json(data)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise NotAnObject("The file on the server is not a JSON object")
    return cast(dict[str, Any], content)


def replace_json(sftp: SFTPClient, path: str, content: dict[str, Any]) -> bytes:
    """Write a JSON file atomically, with the mode of the one that is there; its bytes. An OperationFailed as it comes."""
    data = json.dumps(content, ensure_ascii=False, indent=2).encode("utf-8", "replace")
    with _temporary(sftp, path) as temporary, translated(path):
        with sftp.open(temporary, "wb") as file:
            file.write(data)
        with contextlib.suppress(FileNotFoundError):
            sftp.chmod(temporary, stat.S_IMODE(sftp.stat(path).st_mode or 0o644))
        sftp.posix_rename(temporary, path)
    return data


@contextlib.contextmanager
def _temporary(sftp: SFTPClient, path: str) -> Generator[str]:
    """The name of a file beside another one, which is removed in the end unless it was put in place."""
    temporary = f"{path}.tmp-{secrets.token_hex(6)}"
    try:
        yield temporary
    finally:
        with contextlib.suppress(Exception):  # it is in place, or the connection is lost
            sftp.remove(temporary)


def _create(sftp: SFTPClient, path: str) -> bool:
    """Whether the file was made; False if it is there already. An OperationFailed if it cannot be made."""
    with translated(path):
        try:
            sftp.open(path, "wx").close()
        except OSError as error:
            if isinstance(error, TimeoutError | EOFError) or _mtime(sftp, path) is None:
                raise
            return False
    return True


def _mtime(sftp: SFTPClient, path: str) -> int | None:
    try:
        with translated(path):
            return int(sftp.stat(path).st_mtime or 0)
    except RemotePathNotFound:
        return None


def _now(sftp: SFTPClient, path: str) -> int:
    """The server's clock, as the time of a file that is made now beside another one."""
    with _temporary(sftp, path) as temporary:
        with translated(temporary):
            sftp.open(temporary, "wb").close()
        return _mtime(sftp, temporary) or 0
