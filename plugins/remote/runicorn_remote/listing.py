"""What is in a remote directory, for people who look for their storage root."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from runicorn_remote.channels import translated
from runicorn_remote.errors import NotADirectory
from runicorn_remote.looking import Looking
from runicorn_remote.paths import absolute_path
from runicorn_remote.sftp_client import RemoteEntry, RemoteStat

if TYPE_CHECKING:
    from paramiko.sftp_client import SFTPClient

MAX_ENTRIES = 10_000


class Entry(msgspec.Struct, frozen=True):
    """One entry of a directory; links are followed."""

    name: str
    path: str
    type: Literal["dir", "file", "unknown"]
    size: int
    """Bytes; 0 for what is not a file."""
    mtime: int


class Directory(msgspec.Struct, frozen=True, omit_defaults=True):
    """A listing. `truncated` if there are more than 10 000 entries."""

    ok: bool
    current_path: str
    items: list[Entry]
    truncated: bool = False


def list_directory(sftp: SFTPClient, path: str, *, show_hidden: bool = False) -> Directory:
    """The entries of `path`, by name in byte order. An OperationFailed says what is wrong with the path."""
    current = existing_directory(sftp, path)
    with translated(path):
        looking = Looking(sftp)
        entries = looking.list(current, shown_as=path)
        found = sorted(entries, key=lambda entry: entry.name.encode("utf-8", "surrogateescape"))
        wanted = [entry for entry in found if show_hidden or not entry.name.startswith(".")]
        items = _items(looking, current, wanted[:MAX_ENTRIES])
    return Directory(True, current, items, len(wanted) > MAX_ENTRIES)


def resolve_directory(sftp: SFTPClient, path: str) -> str:
    """The absolute path of a directory that a client names, and that can be listed.

    BadPath, RemotePathNotFound, NotADirectory, PermissionDenied, ….
    """
    found = existing_directory(sftp, path)
    Looking(sftp).check_readable(found, shown_as=path)
    return found


def existing_directory(sftp: SFTPClient, path: str) -> str:
    """The absolute path of a directory that a client names, whether or not it can be listed. Errors as above."""
    with translated(path):
        found = absolute_path(path, sftp.normalize("."))
        if not stat.S_ISDIR(sftp.stat(found).st_mode or 0):
            raise NotADirectory(path)
    return found


def legacy_order(directory: Directory) -> Directory:
    """Directories first, then by name in any case."""
    items = sorted(directory.items, key=lambda entry: (entry.type != "dir", entry.name.casefold(), entry.name))
    return msgspec.structs.replace(directory, items=items)


def _items(looking: Looking, directory: str, entries: Sequence[RemoteEntry]) -> list[Entry]:
    """Entries as they are shown: links as what they lead to."""
    paths = [f"{directory.rstrip('/')}/{entry.name}" for entry in entries]
    links = [path for path, entry in zip(paths, entries, strict=True) if stat.S_ISLNK(entry.stat.mode)]
    targets = dict(zip(links, looking.stats(links), strict=True))
    return [_entry(entry, path, targets.get(path, entry.stat)) for path, entry in zip(paths, entries, strict=True)]


def _entry(entry: RemoteEntry, path: str, found: RemoteStat | Exception | None) -> Entry:
    # Names that are not UTF-8 are shown with U+FFFD: they can be seen, but not opened.
    name, path = _readable(entry.name), _readable(path)
    if found is None or isinstance(found, Exception):  # it leads nowhere, or where this user must not look
        return Entry(name, path, "unknown", 0, 0)
    if stat.S_ISDIR(found.mode):
        return Entry(name, path, "dir", 0, found.mtime_s)
    if stat.S_ISREG(found.mode):
        return Entry(name, path, "file", found.size, found.mtime_s)
    return Entry(name, path, "unknown", 0, found.mtime_s)


def _readable(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
