"""What was sent already, across restarts: ids of notifications, in a file of the plugin's directory."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path


class Sent:
    """The ids of notifications that the receiver has accepted, or refused for good."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    @classmethod
    @contextmanager
    def open(cls, directory: Path) -> Generator[Sent]:
        """The file in the plugin's directory, made on first use."""
        with closing(sqlite3.connect(directory / "sent.db", isolation_level=None)) as db:
            db.execute("CREATE TABLE IF NOT EXISTS sent(id TEXT PRIMARY KEY) WITHOUT ROWID")
            yield cls(db)

    def __contains__(self, delivery: str) -> bool:
        return bool(self._db.execute("SELECT 1 FROM sent WHERE id = ?", (delivery,)).fetchall())

    def add(self, delivery: str) -> None:
        """On disk when this returns."""
        self._db.execute("INSERT OR IGNORE INTO sent VALUES (?)", (delivery,))
