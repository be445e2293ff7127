"""What is in a remote directory, for people who look for their storage root."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Literal

import msgspec

from runicorn_remote.channels import translated
from runicorn_remote.errors import NotADirectory
from runicorn_remote.paths import absolute_path

if TYPE_CHECKING:
    from paramiko.sftp_attr import SFTPAttributes
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
    current = resolve_directory(sftp, path)
    with translated(path):
        found = sftp.listdir_attr(current)
    named = sorted(((_shown(entry.filename), entry) for entry in found), key=lambda pair: pair[0].encode())
    wanted = [pair for pair in named if show_hidden or not pair[0].startswith(".")]
    items = [_entry(sftp, current, name, attributes) for name, attributes in wanted[:MAX_ENTRIES]]
    return Directory(True, current, items, len(wanted) > MAX_ENTRIES)


def resolve_directory(sftp: SFTPClient, path: str) -> str:
    """The absolute path of an existing directory that a client names. BadPath, RemotePathNotFound, NotADirectory, …."""
    with translated(path):
        found = absolute_path(path, sftp.normalize("."))
        if not stat.S_ISDIR(sftp.stat(found).st_mode or 0):
            raise NotADirectory(path)
    return found


def legacy_order(directory: Directory) -> Directory:
    """Directories first, then by name in any case."""
    items = sorted(directory.items, key=lambda entry: (entry.type != "dir", entry.name.casefold(), entry.name))
    return msgspec.structs.replace(directory, items=items)


def _entry(sftp: SFTPClient, directory: str, name: str, attributes: SFTPAttributes) -> Entry:
    path = f"{directory.rstrip('/')}/{name}"
    if stat.S_ISLNK(attributes.st_mode or 0):
        try:
            attributes = sftp.stat(path)
        except TimeoutError:
            raise
        except OSError:  # it leads nowhere, or where this user must not look
            return Entry(name, path, "unknown", 0, 0)
    mode, mtime = attributes.st_mode or 0, int(attributes.st_mtime or 0)
    if stat.S_ISDIR(mode):
        return Entry(name, path, "dir", 0, mtime)
    if stat.S_ISREG(mode):
        return Entry(name, path, "file", int(attributes.st_size or 0), mtime)
    return Entry(name, path, "unknown", 0, mtime)


def _shown(name: str | bytes) -> str:
    """Names that are not UTF-8 with U+FFFD: they can be seen, but not opened."""
    raw = name if isinstance(name, bytes) else name.encode("utf-8", "surrogateescape")
    return raw.decode("utf-8", "replace")
