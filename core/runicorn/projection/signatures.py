"""What watched files looked like when they were observed, kept over restarts of the projector.

Losing it costs time only: a source says nothing that the read model knows.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import cast

import apsw

from runicorn.projection.generations import remove_file

logger = logging.getLogger("runicorn.projection")

_BUSY_TIMEOUT_MS = 5000


class Signatures:
    """A number for each key, in a table of a SQLite file in the state directory."""

    def __init__(self, path: Path, table: str) -> None:
        self._table = table
        try:
            self._db, self._values = self._open(path)
        except (apsw.CorruptError, apsw.NotADBError, apsw.SQLError):
            logger.warning("%s is damaged and is made again", path.name)
            remove_file(path)
            self._db, self._values = self._open(path)

    def get(self, key: str) -> int | None:
        """What was remembered of a key."""
        return self._values.get(key)

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def known(self) -> Iterable[str]:
        """All keys."""
        return self._values.keys()

    def remember(self, values: Mapping[str, int | None], *, is_kept: bool = True) -> None:
        """Set keys; None removes one. What is not `is_kept` is remembered by this process alone."""
        kept = {key: value for key, value in values.items() if value is not None}
        gone = [key for key, value in values.items() if value is None]
        with self._db:
            if is_kept:
                self._db.executemany(f"INSERT OR REPLACE INTO {self._table}(key, value) VALUES (?, ?)", kept.items())
            self._db.executemany(f"DELETE FROM {self._table} WHERE key = ?", ((key,) for key in gone))
        self._values.update(kept)
        for key in gone:
            self._values.pop(key, None)

    def _open(self, path: Path) -> tuple[apsw.Connection, dict[str, int]]:
        connection = apsw.Connection(os.fspath(path))
        connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
        try:
            connection.execute("PRAGMA journal_mode=wal").fetchall()
            connection.execute("PRAGMA synchronous=normal").fetchall()
            connection.execute(
                f"CREATE TABLE IF NOT EXISTS {self._table}(key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID"
            ).fetchall()
            rows = connection.execute(f"SELECT key, value FROM {self._table}").fetchall()
        except apsw.Error:
            connection.close()
            raise
        return connection, dict(cast(list[tuple[str, int]], rows))
