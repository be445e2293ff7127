"""The small SQLite databases of this plugin: notes on what was brought, which can be made again."""

from __future__ import annotations

import os
from pathlib import Path

import apsw


def open_database(path: Path, schema: str) -> apsw.Connection:
    """Open one, with its tables. A damaged one is set aside and begun anew: notes are lost, never files."""
    for attempt in (1, 2):
        db = apsw.Connection(os.fspath(path))
        try:
            for pragma in ("journal_mode=wal", "synchronous=normal"):
                db.execute(f"PRAGMA {pragma}").fetchall()
            db.execute(schema).fetchall()
            return db
        except (apsw.NotADBError, apsw.CorruptError):
            db.close()
            if attempt == 2:
                raise
            os.replace(path, f"{path}.damaged")
    raise AssertionError
