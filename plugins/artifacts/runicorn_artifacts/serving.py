"""Contents of a version for a reader outside: what is sent is what was saved, or the sending breaks off.

Small files are read before the answer begins, large ones are checked while they are sent: the last bytes of a damaged
one are held back. What was found damaged once is refused at once. For threads.
"""

from __future__ import annotations

import hashlib
import io
import os
import threading
from collections.abc import Sequence
from typing import BinaryIO, cast

from runicorn.plugin import NotFound, Store, open_below, shown, without_surrogates
from runicorn_artifacts.errors import DamagedContent
from runicorn_artifacts.folder import FILES, ArtifactFolder, file_of
from runicorn_artifacts.manifest import FileEntry

_CHECKED_FIRST_BYTES = 4 << 20
_REMEMBERED = 10_000

State = tuple[int, int, int, int, int]
"""What changes when somebody writes into a file."""


class FileOfVersionNotFound(NotFound):
    """The version has no such file."""

    def __init__(self, version: str, path: str) -> None:
        super().__init__(f"File not found in {shown(version)}: {shown(path)}")


class KnownFiles:
    """Which files were found sound or damaged, as long as nobody writes into them. `Store.own` makes it."""

    def __init__(self, store: Store) -> None:
        self._lock = threading.Lock()
        del store  # each has its own
        self._known: dict[tuple[str, State], bool] = {}

    def is_sound(self, digest: str, state: State) -> bool | None:
        """Whether the file in this state has this digest; None if nobody has looked yet."""
        with self._lock:
            return self._known.get((digest, state))

    def learn(self, digest: str, state: State, is_sound: bool) -> None:
        """Somebody has looked."""
        with self._lock:
            while len(self._known) >= _REMEMBERED:
                del self._known[next(iter(self._known))]
            self._known[digest, state] = is_sound


class CheckedFile(io.BufferedReader):
    """A file of the store that is hashed while it is read from its beginning to its end.

    The read that would return its last bytes raises OSError, if they complete another content than the one that was saved.
    """

    def __init__(self, file: BinaryIO, entry: FileEntry, known: KnownFiles) -> None:
        super().__init__(cast(io.BufferedReader, file).detach())
        self._entry = entry
        self._known = known
        self._state = state_of(self.fileno())
        self._hash = hashlib.sha256()
        self._hashed = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """See the class."""
        first = self.tell()
        data = super().read(size)
        if first == self._hashed and data:
            self._hash.update(data)
            self._hashed += len(data)
            if self._hashed >= self._entry.size:
                self._judge()
        return data

    def _judge(self) -> None:
        is_sound = self._hashed == self._entry.size and self._hash.hexdigest() == self._entry.sha256
        self._known.learn(self._entry.sha256, self._state, is_sound)
        if not is_sound:
            raise OSError("the content is not the one that was saved")


def find_entry(folder: ArtifactFolder, version: int, path: str) -> FileEntry:
    """The file with this very path in the manifest. FileOfVersionNotFound or UnreadableManifest."""
    for entry in entries_of(folder, version):
        if entry.path == path and entry.is_safe:
            return entry
    raise FileOfVersionNotFound(f"{folder.name}:v{version}", path)


def entries_of(folder: ArtifactFolder, version: int) -> list[FileEntry]:
    """The files that the manifest of a version lists. UnreadableManifest, also if it is not the one that was saved."""
    return folder.saved_manifest(version).files


def open_entry(folder: ArtifactFolder, version: int, entry: FileEntry, known: KnownFiles) -> BinaryIO:
    """Open a file that the manifest lists. DamagedContent, unless it is there, of its size and not known to be damaged."""
    damaged = DamagedContent(f"{folder.name}:v{version}", entry.path)
    if not entry.is_safe:
        raise damaged
    try:
        file = open_below(folder.version_path(version), [FILES, *entry.path.split("/")])
    except (OSError, ValueError):
        raise damaged from None
    try:
        state = state_of(file.fileno())
        is_sound = known.is_sound(entry.sha256, state)
        if is_sound is None and entry.size <= _CHECKED_FIRST_BYTES:
            is_sound = hashlib.file_digest(cast(io.BufferedReader, file), "sha256").hexdigest() == entry.sha256
            known.learn(entry.sha256, state, is_sound)
            file.seek(0)
        if is_sound is False or os.fstat(file.fileno()).st_size != entry.size:
            raise damaged
    except BaseException:
        file.close()
        raise
    return CheckedFile(file, entry, known) if is_sound is None else file


def check_all(folder: ArtifactFolder, version: int, entries: Sequence[FileEntry]) -> None:
    """DamagedContent, if one of these files is missing, has another size, or has a name that no archive can hold."""
    path = folder.version_path(version)
    for entry in entries:
        if file_of(path, entry) is None or without_surrogates(entry.path) != entry.path:
            raise DamagedContent(f"{folder.name}:v{version}", entry.path)


def state_of(descriptor: int) -> State:
    """What changes when somebody writes into an open file."""
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
