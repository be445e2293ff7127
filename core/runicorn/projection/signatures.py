"""What watched files looked like when they were observed, kept over restarts of the projector.

Losing it costs time only: a source says nothing that the read model knows.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

import apsw

from runicorn.projection.generations import remove_file

logger = logging.getLogger("runicorn.projection")

_BUSY_TIMEOUT_MS = 5000
_AT_ONCE = 500


class Signatures:
    """A number for each key, in a table of a SQLite file in the state directory. Looked up there, not kept in memory."""

    def __init__(self, path: Path, table: str) -> None:
        self._table = table
        self._unkept: dict[str, int] = {}
        try:
            self._db = self._open(path)
        except (apsw.CorruptError, apsw.NotADBError, apsw.SQLError):
            logger.warning("%s is damaged and is made again", path.name)
            remove_file(path)
            self._db = self._open(path)

    def get(self, key: str) -> int | None:
        """What was remembered of a key."""
        if key in self._unkept:
            return self._unkept[key]
        rows = self._db.execute(f"SELECT value FROM {self._table} WHERE key = ?", (key,)).fetchall()
        return cast(int, rows[0][0]) if rows else None

    def known(self) -> Iterator[str]:
        """All keys in their order; what changes meanwhile may be missing."""
        yield from list(self._unkept)
        page = f"SELECT key FROM {self._table} WHERE key > ? ORDER BY key LIMIT {_AT_ONCE}"
        rows = self._db.execute(f"SELECT key FROM {self._table} ORDER BY key LIMIT {_AT_ONCE}").fetchall()
        while rows:
            yield from (str(row[0]) for row in rows if row[0] not in self._unkept)
            rows = self._db.execute(page, (rows[-1][0],)).fetchall()

    def remember(self, values: Mapping[str, int | None], *, is_kept: bool = True) -> None:
        """Set keys; None removes one. What is not `is_kept` is remembered by this process alone."""
        kept = {key: value for key, value in values.items() if value is not None}
        gone = [key for key, value in values.items() if value is None]
        for key in values:
            self._unkept.pop(key, None)
        if not is_kept:
            self._unkept.update(kept)
            kept = {}
        with self._db:
            self._db.executemany(f"INSERT OR REPLACE INTO {self._table}(key, value) VALUES (?, ?)", kept.items())
            self._db.executemany(f"DELETE FROM {self._table} WHERE key = ?", ((key,) for key in gone))

    def _open(self, path: Path) -> apsw.Connection:
        connection = apsw.Connection(os.fspath(path))
        connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
        try:
            connection.execute("PRAGMA journal_mode=wal").fetchall()
            connection.execute("PRAGMA synchronous=normal").fetchall()
            connection.execute(
                f"CREATE TABLE IF NOT EXISTS {self._table}(key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID"
            ).fetchall()
            # All of it is read once: damage shows now, when the file can be made again. (`sum` of whole signatures overflows.)
            connection.execute(f"SELECT total(value) FROM {self._table}").fetchall()
        except apsw.Error:
            connection.close()
            raise
        return connection
