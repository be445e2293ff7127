"""Files that were found on the server and are not here yet: who brings which, and how much is left."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

from runicorn_remote.enumeration import RemoteFile

_MAX_BYTES = (1 << 63) - 1


class Waiting:
    """Each file is in the hands of one thread at most, from `take` until `let_go`."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._bytes: dict[str, int] = {}
        self._total = 0

    @property
    def files(self) -> int:
        """How many files."""
        return len(self._bytes)

    @property
    def bytes(self) -> int:
        """How many bytes of them are still to be brought, going by what was listed; a server may list anything."""
        return min(self._total, _MAX_BYTES)

    def paths(self) -> set[str]:
        """Which files."""
        with self._mutex:
            return set(self._bytes)

    def take(self, files: Sequence[tuple[RemoteFile, int]]) -> list[RemoteFile]:
        """Those that no thread has in hand, given with the bytes that are missing here; they are taken now."""
        with self._mutex:
            free = [(file, missing) for file, missing in files if file.path not in self._bytes]
            for file, missing in free:
                self._bytes[file.path] = missing
                self._total += missing
        return [file for file, _ in free]

    def let_go(self, files: Iterable[RemoteFile]) -> None:
        """Whoever had them has done what could be done."""
        with self._mutex:
            for file in files:
                self._total -= self._bytes.pop(file.path, 0)

    def clear(self) -> None:
        """Nobody has anything in hand."""
        with self._mutex:
            self._bytes.clear()
            self._total = 0
