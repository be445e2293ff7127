"""The reading side of a read model: connections that never block the projector and are never blocked by it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar, cast

import apsw

from runicorn.errors import StorageUnavailable
from runicorn.events.log import Position, Stream
from runicorn.projection.base import Projection, kinds_of
from runicorn.projection.checkpoints import Checkpoint
from runicorn.projection.generations import fingerprint, newest
from runicorn.projection.model import DAMAGE, STORAGE_ERRORS

A = ParamSpec("A")
R = TypeVar("R")

_THREADS = 4
_RETRY_S = 2
_PATIENT_MS = 1000
"""How long a thread waits for a lock. Readers meet one only while SQLite repairs a WAL, or the last writer closes the file."""

# What a file that was superseded, set aside or damaged raises, or a connection that a query has closed. A mistake in a
# query's SQL is none of these.
_UNREADABLE = (*STORAGE_ERRORS, *DAMAGE, apsw.ProtocolError, apsw.SchemaChangeError, apsw.ConnectionClosedError)


class ModelsBeingBuilt(StorageUnavailable):
    """No file of these projections holds the whole log yet: lists would lack runs, and known runs would be unknown."""

    retry_after = _RETRY_S

    def __init__(self, progress: float | None = None) -> None:
        share = "" if progress is None else f" ({int(100 * progress)} %)"
        super().__init__(f"The read models are being built{share}. Try again in a moment.")
        self.headers = {"retry-after": str(_RETRY_S)}


class ModelReader:
    """Reads the current file of one plugin's read model.

    `query` runs on the calling thread and is for point reads and lists of at most about 50 rows; `run` is for everything
    that takes longer than about a millisecond and uses a thread with a connection of its own. All that the function reads
    is of one moment, however many statements it takes. On an event loop `query` waits for no lock:
    all other requests would wait with it.
    """

    def __init__(self, state_dir: Path, plugin: str, projections: list[Projection]) -> None:
        self._state_dir = state_dir
        self._plugin = plugin
        self._fingerprint = fingerprint(projections)
        self._kinds = kinds_of(projections)
        self._connection: apsw.Connection | None = None
        self._build = ""
        self._epoch = 0
        self._idle: list[apsw.Connection] = []
        """Connections to the file of this epoch, for threads."""
        self._mutex = threading.Lock()
        self._slots = asyncio.Semaphore(_THREADS)

    def query(self, function: Callable[Concatenate[apsw.Connection, A], R], *args: A.args, **kwargs: A.kwargs) -> R:
        """`function(connection, …)` now, on this thread. ModelsBeingBuilt until the first one is complete."""
        try:
            return self._query(function, *args, **kwargs)
        except _UNREADABLE:
            self.reopen()  # a newer file may have taken over in this very moment
        try:
            return self._query(function, *args, **kwargs)
        except _UNREADABLE as error:
            self.reopen()
            raise StorageUnavailable from error

    async def run(self, function: Callable[Concatenate[apsw.Connection, A], R], *args: A.args, **kwargs: A.kwargs) -> R:
        """`function(connection, …)` in a thread; at most four at a time per read model."""
        async with self._slots:
            return await asyncio.to_thread(self._run_with_own, function, *args, **kwargs)

    def read(self, function: Callable[Concatenate[apsw.Connection, A], R], *args: A.args, **kwargs: A.kwargs) -> R:
        """`function(connection, …)` on this thread, which must not be an event loop's, with a connection of its own."""
        return self._run_with_own(function, *args, **kwargs)

    def is_readable(self) -> bool:
        """Whether there is a read model that holds the whole log, or did when it took over."""
        try:
            self.query(lambda _: None)
        except StorageUnavailable:
            return False
        return True

    def counter(self, name: str) -> tuple[str, int]:
        """`(build, value)`: together they change exactly when rows behind the counter change."""
        rows = self.query(_counter, name)
        return self._build, rows

    def checkpoint(self, stream: Stream) -> Checkpoint | None:
        """How far a stream has been applied; None if it is unknown."""
        return self.query(_checkpoint, stream.name)

    def content(self, stream: Stream) -> tuple[object, ...]:
        """Changes with what was applied of a stream: build of the read model, offset, and which file and bytes it is."""
        return self.content_at(self.checkpoint(stream))

    def content_at(self, known: Checkpoint | None) -> tuple[object, ...]:
        """The `content` of the stream whose checkpoint was looked up just now."""
        content = (0, 0, 0) if known is None else (known.offset, known.inode, known.checksum)
        return (self._build, *content)

    def is_level(self, stream: Stream, position: Position | None) -> bool:
        """Whether the read model has all that the stream held at `position` (None: no such stream)."""
        if stream.kind not in self._kinds:
            return True
        known = self.checkpoint(stream)
        return (known is None) if position is None else (known is not None and known.is_at(position))

    def reopen(self) -> None:
        """Forget all connections: the next query opens the newest file. On the thread of `query` only."""
        with self._mutex:
            connections = self._idle
            self._idle = []
            self._epoch += 1
        if self._connection is not None:
            connections.append(self._connection)
        self._connection = None
        for connection in connections:
            connection.close()

    def _query(self, function: Callable[Concatenate[apsw.Connection, A], R], *args: A.args, **kwargs: A.kwargs) -> R:
        connection = self._main()
        try:
            return _at_one_moment(connection, function, *args, **kwargs)
        finally:
            if _is_spent(connection):
                self.reopen()

    def _main(self) -> apsw.Connection:
        if self._connection is None:
            self._connection = self._open(waits=not _is_on_event_loop())
            row = self._connection.execute("SELECT value FROM meta WHERE key = 'build'").fetchall()
            self._build = str(row[0][0]) if row else ""
        return self._connection

    def _run_with_own(
        self, function: Callable[Concatenate[apsw.Connection, A], R], *args: A.args, **kwargs: A.kwargs
    ) -> R:
        try:
            with self._own() as connection:
                return _at_one_moment(connection, function, *args, **kwargs)
        except _UNREADABLE:
            pass
        try:
            with self._own(is_fresh=True) as connection:
                return _at_one_moment(connection, function, *args, **kwargs)
        except _UNREADABLE as error:
            raise StorageUnavailable from error

    @contextlib.contextmanager
    def _own(self, *, is_fresh: bool = False) -> Generator[apsw.Connection]:
        with self._mutex:
            epoch = self._epoch
            connection = self._idle.pop() if self._idle and not is_fresh else None
        if connection is None:
            connection = self._open(waits=True)
        is_kept = False
        try:
            yield connection
            with self._mutex:
                is_kept = epoch == self._epoch and not _is_spent(connection)
                if is_kept:
                    self._idle.append(connection)
        finally:
            if not is_kept:
                connection.close()

    def _open(self, *, waits: bool) -> apsw.Connection:
        path = newest(self._state_dir, self._plugin, self._fingerprint, waits=waits)
        if path is None:
            raise ModelsBeingBuilt
        connection = apsw.Connection(os.fspath(path), flags=apsw.SQLITE_OPEN_READONLY)
        connection.set_busy_timeout(_PATIENT_MS if waits else 0)
        for pragma in ("cache_size=-8000", "mmap_size=0", "query_only=on"):
            with contextlib.suppress(apsw.Error):
                connection.execute(f"PRAGMA {pragma}").fetchall()
        try:
            rows = connection.execute("SELECT key, value FROM meta").fetchall()
        except apsw.SQLError:  # between the creation of a file and the commit of its schema
            rows = []
        except BaseException:
            connection.close()
            raise
        facts = {str(key): value for key, value in rows}
        if not facts.get("ready"):
            connection.close()
            raise ModelsBeingBuilt(cast("float | None", facts.get("progress")))
        return connection


def _is_on_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _at_one_moment(
    db: apsw.Connection, function: Callable[Concatenate[apsw.Connection, A], R], *args: A.args, **kwargs: A.kwargs
) -> R:
    """Without the transaction, the projector's commits between two statements would be seen by the second only."""
    db.execute("BEGIN")
    try:
        return function(db, *args, **kwargs)
    finally:
        if db.in_transaction:  # SQLite may have ended it after an error
            db.execute("COMMIT")


def _is_spent(db: apsw.Connection) -> bool:
    """Whether a function has left a statement half read, so that the connection would see this one moment for ever."""
    try:
        return db.txn_state() != apsw.SQLITE_TXN_NONE
    except apsw.ConnectionClosedError:
        return True


def _counter(db: apsw.Connection, name: str) -> int:
    rows = db.execute("SELECT value FROM counter WHERE name = ?", (name,)).fetchall()
    return int(rows[0][0]) if rows else 0  # type: ignore[arg-type]  # the columns of the table


def _checkpoint(db: apsw.Connection, name: str) -> Checkpoint | None:
    rows = db.execute(
        "SELECT id, offset, size, inode, modified, head, checksum FROM stream WHERE name = ?", (name,)
    ).fetchall()
    return Checkpoint(*rows[0]) if rows else None  # type: ignore[arg-type]  # the columns of the table
