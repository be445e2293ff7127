"""SQLite files beside the read models: what is indexed of files and curves. One writer; any file may be deleted at any time.

The version of a schema is part of the file's name: a file of another version is removed by the writer.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator
from pathlib import Path

import apsw
import msgspec

DAMAGE = (apsw.CorruptError, apsw.NotADBError)

TROUBLE = (apsw.FullError, apsw.IOError, apsw.BusyError, apsw.CantOpenError, apsw.ReadOnlyError)
"""The disk is to blame, or another process: trying again later helps."""

_READ_TIMEOUT_MS, _WRITE_TIMEOUT_MS = 1000, 5000


def _nothing(connection: apsw.Connection) -> None: ...


class IndexDatabase(msgspec.Struct, frozen=True):
    """One kind of such files."""

    prefix: str
    version: int
    schema: str
    table: str
    """A table of the schema: a file without it is not finished."""
    cache_kib: int
    """Of the writer; readers take 4 MiB at most."""
    prepare: Callable[[apsw.Connection], None] = _nothing
    """Done with every connection before anything else."""

    def path(self, state_dir: Path) -> Path:
        """Where the file of a state directory is."""
        return state_dir / f"{self.prefix}{self.version}.db"

    def open_to_write(self, state_dir: Path) -> apsw.Connection:
        """The file, made if there is none; a damaged one is made anew. For its only writer."""
        path = self.path(state_dir)
        for other in state_dir.glob(f"{self.prefix}*.db"):
            if other != path:
                remove(other)
        try:
            return self._open_or_create(path)
        except DAMAGE:
            remove(path)
            return self._open_or_create(path)

    def open_to_read(self, state_dir: Path) -> apsw.Connection | None:
        """The file for queries; None if there is none."""
        try:
            connection = apsw.Connection(os.fspath(self.path(state_dir)), flags=apsw.SQLITE_OPEN_READONLY)
        except apsw.CantOpenError:
            return None
        connection.set_busy_timeout(_READ_TIMEOUT_MS)
        for pragma in ("cache_size=-4000", "mmap_size=0", "temp_store=memory"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        self.prepare(connection)
        if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (self.table,)).fetchall():
            connection.close()
            return None
        return connection

    def _open_or_create(self, path: Path) -> apsw.Connection:
        connection = apsw.Connection(os.fspath(path))
        try:
            connection.set_busy_timeout(_WRITE_TIMEOUT_MS)
            # WAL with `normal`: a crash of the machine loses the last transactions, and never the consistency.
            for pragma in ("journal_mode=wal", "synchronous=normal", f"cache_size=-{self.cache_kib}"):
                connection.execute(f"PRAGMA {pragma}").fetchall()
            self.prepare(connection)
            if not connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall():
                with transaction(connection):
                    connection.execute(self.schema).fetchall()
        except BaseException:
            connection.close()
            raise
        return connection


def remove(path: Path) -> None:
    """Remove the file of an index with its WAL."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


@contextlib.contextmanager
def transaction(db: apsw.Connection) -> Generator[None]:
    """All or nothing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")
