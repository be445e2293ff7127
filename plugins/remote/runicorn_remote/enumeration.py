"""Everything below a remote root: by one `find` where the server runs commands for us, else by walking with SFTP.

Nothing that a server says is used as a path here: entries carry their path as text, and who writes files checks it.
"""

from __future__ import annotations

import posixpath
import re
import shlex
import stat
from collections.abc import Iterator, Sequence

import msgspec

from runicorn_remote.channels import CommandRefused, translated
from runicorn_remote.connection import Connection
from runicorn_remote.errors import ConnectionLost, NotADirectory, OperationTimeout, RemoteError
from runicorn_remote.looking import MAX_ENTRIES, MAX_NAME_BYTES, MOST_AT_ONCE, Looking
from runicorn_remote.paths import MAX_SEGMENTS

# `.runicorn` is what a server there knows about its own root: its state, and its record of commands. What commands have
# done is in the files, too.
_PRUNED = ("find {paths} \\( -name .dedup -o -name .mirrors -o -name .runicorn \\) -prune -o"
           " \\( -type f -o -type l \\) -printf '%y %s %T@ %P\\0'")  # fmt: skip
_BEGIN = b"RN1\0"
_END = re.compile(rb"RN2 ([0-9]+)\0$")
_ENTRY = re.compile(rb"([fl]) ([0-9]{1,19}) (-?[0-9]{1,15})(?:\.([0-9]+))? (.+)", re.DOTALL)
_MAX_ENTRY_BYTES = 16 << 10
_MAX_COMMAND_BYTES = 64 << 10
"""Linux allows 128 KiB in one argument of a program, and a shell gets all of a command as one."""

_MAX_TIME_NS = (1 << 63) - 1
"""Beyond the year 2262, which some file systems can tell and SQLite cannot: such times are all the same."""

_SKIPPED = frozenset({".dedup", ".mirrors", ".runicorn"})


class RemoteFile(msgspec.Struct, frozen=True):
    """A regular file, or a link to one below the same root."""

    path: str
    """Relative to the root, with `/`; as the server gave it."""
    size: int
    mtime_ns: int
    """Whole seconds where it was found by SFTP."""


class Enumeration(msgspec.Struct, frozen=True):
    """What was found."""

    files: list[RemoteFile]
    is_complete: bool
    """Whether every directory could be read: only then a file that is missing here is gone."""
    unreadable: int
    """Directories and links that could not be looked at."""


def enumerate_root(connection: Connection, root: str) -> Enumeration:
    """All files below `root`, an absolute path. RemotePathNotFound, NotADirectory or PermissionDenied for the root itself."""
    with connection.shared_sftp() as sftp, translated(root):
        if not stat.S_ISDIR(sftp.stat(root).st_mode or 0):
            raise NotADirectory(root)
        real_root = Looking(sftp).real_path(root)
    if not connection.has_no_commands:
        found = _by_find(connection, root, real_root)
        if found is not None:
            return found
    found = _by_walking(connection, root, real_root, [""])
    connection.has_no_commands = True
    return found


def enumerate_directories(connection: Connection, root: str, directories: Sequence[str]) -> Enumeration:
    """The files below some directories of `root`, given relative to it, with paths relative to the root."""
    with connection.shared_sftp() as sftp, translated(root):
        real_root = Looking(sftp).real_path(root)
    files: list[RemoteFile] = []
    is_complete, unreadable = True, 0
    for some in _command_lines(directories):
        found = None if connection.has_no_commands else _by_find(connection, root, real_root, some)
        if found is None:
            found = _by_walking(connection, root, real_root, some)
        files += found.files
        is_complete, unreadable = is_complete and found.is_complete, unreadable + found.unreadable
    return Enumeration(files, is_complete, unreadable)


def _command_lines(directories: Sequence[str]) -> Iterator[Sequence[str]]:
    """As many directories at a time as a command may name."""
    some: list[str] = []
    size = 0
    for directory in directories:
        length = len(shlex.quote(_named(directory)).encode("utf-8", "surrogateescape"))  # it is quoted once more
        if some and size + length > _MAX_COMMAND_BYTES:
            yield some
            some, size = [], 0
        some.append(directory)
        size += length
    if some:
        yield some


def _named(directory: str) -> str:
    return shlex.quote(f"./{directory}")


def _by_find(connection: Connection, root: str, real_root: str, directories: Sequence[str] = ()) -> Enumeration | None:
    """None if the server runs no such command."""
    # `%P` is relative to the starting point; of several, each with its own prefix, only `%p` tells which.
    paths = " ".join(map(_named, directories)) or "."
    find = _PRUNED.format(paths=paths)
    if directories:
        find = find.replace("%P", "%p")
    script = f"printf 'RN1\\0'; cd -- {shlex.quote(root)} && LC_ALL=C {find}; printf 'RN2 %s\\0' $?"
    try:
        command = connection.run(script)
    except CommandRefused:
        return None
    links: list[RemoteFile] = []
    files: list[RemoteFile] = []
    state = _Output()
    name_bytes = 0
    try:
        for piece in command.pieces():
            for entry in state.feed(piece):
                kind, file = entry
                (links if kind == "l" else files).append(file)
                name_bytes += len(file.path)
                if len(files) + len(links) > MAX_ENTRIES or name_bytes > MAX_NAME_BYTES:
                    raise TooManyFiles
            if state.status == 0:  # what a login script has started may hold the output open for as long as it lives
                break
    except OperationTimeout:
        if state.has_begun and state.status is None:
            raise
        if not state.has_begun:
            return None  # something else answered, and waits for input
    finally:
        command.close()
    if not state.has_begun or (state.status != 0 and not files and not links):
        return None
    if state.status is None:
        raise ConnectionLost
    unreadable = command.stderr.count(b"\n") if state.status else 0
    return Enumeration(files + _follow(connection, root, real_root, links), state.status == 0, unreadable)


class TooManyFiles(RemoteError):
    """A root that is none of ours, or a server that does not mean well."""

    status, code = 400, "too_many_files"

    def __init__(self) -> None:
        super().__init__(f"More than {MAX_ENTRIES} files below the remote root")


class _Output:
    """Parses what the command prints, however it is cut into pieces."""

    def __init__(self) -> None:
        self.has_begun = False
        self.status: int | None = None
        self._rest = b""

    def feed(self, piece: bytes) -> Iterator[tuple[str, RemoteFile]]:
        self._rest += piece
        if not self.has_begun:
            start = self._rest.find(_BEGIN)
            if start < 0:
                self._rest = self._rest[-len(_BEGIN) :]  # login scripts print what they like before
                return
            self.has_begun = True
            self._rest = self._rest[start + len(_BEGIN) :]
        *entries, self._rest = self._rest.split(b"\0")
        if len(self._rest) > _MAX_ENTRY_BYTES:
            self._rest = b""
        for entry in entries:
            end = _END.match(entry + b"\0")
            if end is not None:
                self.status = int(end[1])
                continue
            found = _ENTRY.fullmatch(entry)
            if found is None or len(entry) > _MAX_ENTRY_BYTES:
                continue
            nanoseconds = int((found[4] or b"")[:9].ljust(9, b"0"))
            path = found[5].decode("utf-8", "surrogateescape").removeprefix("./")
            mtime_ns = min(max(int(found[3]) * 10**9 + nanoseconds, -_MAX_TIME_NS), _MAX_TIME_NS)
            yield found[1].decode(), RemoteFile(path, int(found[2]), mtime_ns)


def _follow(connection: Connection, root: str, real_root: str, links: Sequence[RemoteFile]) -> list[RemoteFile]:
    """Links to regular files inside of the root, with what they lead to; the others are left out without error."""
    found: list[RemoteFile] = []
    for start in range(0, len(links), MOST_AT_ONCE):
        some = [link.path for link in links[start : start + MOST_AT_ONCE]]
        with connection.shared_sftp() as sftp:  # others may look in between
            found += _followed(Looking(sftp), root, real_root, some)
    return found


def _followed(looking: Looking, root: str, real_root: str, links: Sequence[str]) -> Iterator[RemoteFile]:
    targets = looking.follow([posixpath.join(root, link) for link in links], real_root)
    for link, target in zip(links, targets, strict=True):
        if target is not None and stat.S_ISREG(target.mode):
            yield RemoteFile(link, target.size, target.mtime_s * 10**9)


def _by_walking(connection: Connection, root: str, real_root: str, directories: Sequence[str]) -> Enumeration:
    """By SFTP, many directories at a time."""
    files: list[RemoteFile] = []
    unreadable = seen = name_bytes = 0
    waiting = list(directories)
    while waiting:
        some, waiting = waiting[-MOST_AT_ONCE:], waiting[:-MOST_AT_ONCE]
        links: list[str] = []
        with connection.shared_sftp() as sftp:
            looking = Looking(sftp)
            listings = looking.lists([posixpath.join(root, directory) for directory in some], shown_as=some)
            for directory, entries in zip(some, listings, strict=True):
                if isinstance(entries, Exception):
                    if not directory or isinstance(entries, ConnectionLost):
                        raise entries
                    unreadable += 1
                    continue
                seen += len(entries)
                for entry in entries:
                    path = posixpath.join(directory, entry.name)
                    name_bytes += len(path)
                    mode = entry.stat.mode
                    if stat.S_ISDIR(mode):
                        is_entry = entry.name not in ("", ".", "..") and "/" not in entry.name
                        is_deep = path.count("/") >= MAX_SEGMENTS  # such names are not used, and a tree may be endless
                        if is_entry and not is_deep and entry.name not in _SKIPPED:
                            waiting.append(path)
                    elif stat.S_ISREG(mode):
                        files.append(RemoteFile(path, entry.stat.size, entry.stat.mtime_s * 10**9))
                    elif stat.S_ISLNK(mode):
                        links.append(path)
                if seen > MAX_ENTRIES or name_bytes > MAX_NAME_BYTES:
                    raise TooManyFiles
        files += _follow(connection, root, real_root, [RemoteFile(link, 0, 0) for link in links])
    return Enumeration(files, unreadable == 0, unreadable)
