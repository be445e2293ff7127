"""The SQLite file under a read model: its settings, its schema, and the indexes that are made last."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

import apsw

from runicorn.projection.base import HasReadingIndexes, Projection
from runicorn.projection.blame import ModelDamaged
from runicorn.projection.generations import FRAMEWORK_SCHEMA

BUSY_TIMEOUT_MS = 5000

_BUILDING_CACHE_KIB = 16_000
_LIVE_CACHE_KIB = 4_000  # what a transaction touches; the operating system has the rest


def set_pragmas(connection: apsw.Connection, *, is_scratch: bool) -> None:
    """Settings of the writing connection; those of building, until `shrink`."""
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    # A machine crash may take the last commits, never their consistency, and the log has every event:
    # `normal` is enough. (A process that is killed loses nothing either way.)
    for pragma in (
        "page_size=8192",
        f"journal_mode={'memory' if is_scratch else 'wal'}",
        f"synchronous={'off' if is_scratch else 'normal'}",
        f"cache_size=-{_BUILDING_CACHE_KIB}",
        "temp_store=memory",
    ):
        connection.execute(f"PRAGMA {pragma}").fetchall()


def shrink(connection: apsw.Connection) -> None:
    """Give back the memory that only building needs."""
    for pragma in (f"cache_size=-{_LIVE_CACHE_KIB}", "shrink_memory"):
        connection.execute(f"PRAGMA {pragma}").fetchall()


def create_or_check(connection: apsw.Connection, path: Path, projections: Sequence[Projection]) -> bool:
    """Make the tables of a new file, inside a transaction; whether the file is ready. ModelDamaged if it is no read model."""
    if connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall():
        return _is_ready(connection, path)
    for script in (FRAMEWORK_SCHEMA, *(projection.schema for projection in projections)):
        connection.execute(script).fetchall()
    # Counters start again in every file: thanks to this token an ETag of an older file never matches.
    connection.execute("INSERT INTO meta VALUES ('build', ?), ('ready', 0)", (os.urandom(6).hex(),))
    return False


def postpone_indexes(connection: apsw.Connection, projections: Sequence[Projection]) -> list[str]:
    """Drop the indexes that only readers need until the file is ready: filling them row by row took half the time.

    Inside a transaction. The statements that make them again.
    """
    postponed: list[str] = []
    for projection in projections:
        names = projection.reading_indexes if isinstance(projection, HasReadingIndexes) else ()
        for name in sorted(names):
            found = connection.execute(
                "SELECT sql FROM sqlite_schema WHERE type = 'index' AND name = ?", (name,)
            ).fetchall()
            if found:
                connection.execute(f'DROP INDEX "{name}"')
                postponed.append(str(found[0][0]))
    return postponed


def truncate_wal(connection: apsw.Connection) -> None:
    """Write the WAL back into the database file; without this it only grows while readers are busy."""
    connection.set_busy_timeout(50)  # a reader with a long query is not worth waiting for
    try:
        with contextlib.suppress(apsw.BusyError):
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    finally:
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)


def _is_ready(connection: apsw.Connection, path: Path) -> bool:
    try:
        rows = connection.execute("SELECT value FROM meta WHERE key = 'ready'").fetchall()
    except apsw.SQLError as error:
        raise ModelDamaged(path) from error
    if not rows:
        raise ModelDamaged(path)
    return bool(rows[0][0])
