"""The cursors of one reacting plugin: up to where it has been told of each stream, in a SQLite file of its own.

Beside them is how far the moves of checkpoints have been followed in each read model. What a plugin has still to be told is
therefore looked up, whatever was killed when: the streams that moved since, and those that wait for another attempt. Nothing
here is in memory, and nothing walks over all streams but the first start with a plugin.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import cast

import apsw
import msgspec

CURSORS = "-cursors.db"
"""How the names of files with cursors end."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS cursor(stream TEXT PRIMARY KEY, offset INTEGER NOT NULL, head BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS waiting(number INTEGER PRIMARY KEY, stream TEXT NOT NULL UNIQUE, is_held INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS followed(plugin TEXT PRIMARY KEY, build TEXT NOT NULL, move INTEGER NOT NULL) WITHOUT ROWID;
"""
_BUSY_TIMEOUT_MS = 5000
_CACHE_KIB = 512


def cursors_file(state_dir: Path, plugin: str) -> Path:
    """Where the cursors of a plugin are."""
    return state_dir / f"{plugin}{CURSORS}"


class Cursor(msgspec.Struct, frozen=True):
    """Up to where a plugin has been told of a stream, and how the stream began then."""

    offset: int = 0
    head: bytes = b""


class Followed(msgspec.Struct, frozen=True):
    """Up to which move of a checkpoint one build of a plugin's read model has been followed."""

    build: str
    move: int


class Cursors:
    """Reads and moves cursors. For one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._db = apsw.Connection(os.fspath(path))
        self._db.set_busy_timeout(_BUSY_TIMEOUT_MS)
        # A machine crash may take the last moves: then events are delivered again, never too few.
        for pragma in ("journal_mode=wal", "synchronous=normal", f"cache_size=-{_CACHE_KIB}"):
            self._db.execute(f"PRAGMA {pragma}").fetchall()
        with self._db:
            self.is_new = not self._db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'cursor'").fetchall()
            """Whether the plugin was never told of anything: `begin` comes first then."""
            if not self.is_new:
                self._db.execute(_SCHEMA).fetchall()
                self._db.execute("UPDATE waiting SET is_held = 0")

    def begin(self, cursors: Iterable[tuple[str, int, bytes]], followed: Mapping[str, Followed]) -> None:
        """Take these as what the plugin need not be told of: name, offset and first bytes; the last of a stream counts."""
        with self._db:
            self._db.execute(_SCHEMA).fetchall()
            self._db.executemany("INSERT OR REPLACE INTO cursor(stream, offset, head) VALUES (?, ?, ?)", cursors)
        self.follow(followed)
        self.is_new = False

    def get(self, stream: str) -> Cursor:
        """The cursor of a stream; at its start if the plugin was never told of it."""
        rows = self._db.execute("SELECT offset, head FROM cursor WHERE stream = ?", (stream,)).fetchall()
        return Cursor(*cast(tuple[int, bytes], rows[0])) if rows else Cursor()

    def offsets(self, streams: Sequence[str]) -> dict[str, int]:
        """The offsets of those of these streams that have a cursor, by name."""
        rows = self._db.execute(
            "SELECT stream, offset FROM cursor WHERE stream IN (SELECT value FROM json_each(?))", (json.dumps(streams),)
        ).fetchall()
        return dict(cast(list[tuple[str, int]], rows))

    def move(self, stream: str, cursor: Cursor | None) -> None:
        """Say up to where the plugin has been told of a stream; None: there is no such stream."""
        if cursor is None:
            self._db.execute("DELETE FROM cursor WHERE stream = ?", (stream,))
        else:
            self._db.execute(
                "INSERT OR REPLACE INTO cursor(stream, offset, head) VALUES (?, ?, ?)",
                (stream, cursor.offset, cursor.head),
            )

    def wait(self, stream: str, *, is_held: bool) -> None:
        """Have a stream looked at again: at once, or `is_held`: when the read models have become others."""
        self._db.execute("INSERT OR REPLACE INTO waiting(stream, is_held) VALUES (?, ?)", (stream, is_held))

    def wait_no_more(self, stream: str) -> None:
        """The plugin has been told of all that a stream holds."""
        self._db.execute("DELETE FROM waiting WHERE stream = ?", (stream,))

    def hold_no_more(self) -> None:
        """The read models have become others."""
        self._db.execute("UPDATE waiting SET is_held = 0 WHERE is_held")

    def waiting(self, count: int) -> list[str]:
        """Up to `count` streams that are to be looked at again at once; who has just been put back comes last."""
        rows = self._db.execute(
            "SELECT stream FROM waiting WHERE NOT is_held ORDER BY number LIMIT ?", (count,)
        ).fetchall()
        return [str(stream) for (stream,) in rows]

    def followed(self) -> dict[str, Followed]:
        """How far each read model was followed, by plugin."""
        rows = self._db.execute("SELECT plugin, build, move FROM followed").fetchall()
        return {plugin: Followed(build, move) for plugin, build, move in cast(list[tuple[str, str, int]], rows)}

    def follow(self, followed: Mapping[str, Followed]) -> None:
        """Remember how far read models were followed."""
        rows = [(plugin, one.build, one.move) for plugin, one in followed.items()]
        with self._db:
            self._db.executemany("INSERT OR REPLACE INTO followed(plugin, build, move) VALUES (?, ?, ?)", rows)

    def close(self) -> None:
        """Close the file."""
        self._db.close()
