"""The reading side of what this plugin keeps beside the read models, for the threads of a worker and for commands."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator
from pathlib import Path

import apsw

from runicorn.plugin import StorageUnavailable

_UNREADABLE = (
    apsw.CorruptError,
    apsw.NotADBError,
    apsw.IOError,
    apsw.CantOpenError,
    apsw.BusyError,
    apsw.SchemaChangeError,
)


class SideFileReader:
    """Connections to a SQLite file that may be made anew at any time; each is used by one thread at a time."""

    def __init__(self, path: Path, open_to_read: Callable[[], apsw.Connection | None]) -> None:
        self._path = path
        self._open = open_to_read
        self._idle: list[apsw.Connection] = []
        self._inode = 0
        self._mutex = threading.Lock()

    @contextlib.contextmanager
    def connection(self) -> Generator[apsw.Connection | None]:
        """A connection that sees one moment; None if there is no file. StorageUnavailable if it cannot be read."""
        db, inode = None, 0
        try:
            db, inode = self._take()
            if db is None:
                yield None
                return
            db.execute("BEGIN")
            yield db
            db.execute("COMMIT")
        except _UNREADABLE as error:
            if db is not None:
                db.close()
            raise StorageUnavailable from error
        except BaseException:
            if db is not None:
                db.close()
            raise
        with self._mutex:
            if inode == self._inode:
                self._idle.append(db)
                return
        db.close()  # the file was made anew meanwhile: this one sees the old one for ever

    def close(self) -> None:
        """Close the connections that are not in use."""
        with self._mutex:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _take(self) -> tuple[apsw.Connection | None, int]:
        """A connection, and the file that it was opened to."""
        try:
            inode = self._path.stat().st_ino
        except OSError:
            inode = 0
        with self._mutex:
            old: list[apsw.Connection] = []
            if inode != self._inode:  # it was made anew
                old, self._idle, self._inode = self._idle, [], inode
            idle = self._idle.pop() if self._idle else None
        for connection in old:
            connection.close()
        if idle is not None or not inode:
            return idle, inode
        return self._open(), inode
