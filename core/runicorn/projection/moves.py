"""Which streams moved in a read model, in the order of the commits: every move of a checkpoint has a number of its own.

A reader that remembers the number up to which it has looked finds what is new since by one look-up in an index, however many
streams there are. Numbers count up as long as the file lives; another file (another *build*) numbers anew.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, cast

import apsw
import msgspec

from runicorn.events.log import StreamKind

_BUSY_TIMEOUT_MS = 5000
_CACHE_KIB = 256


class Standing(msgspec.Struct, frozen=True):
    """Where a read model that serves stands, as its writer says."""

    plugin: str
    path: Path
    kinds: frozenset[StreamKind]
    is_ready: bool
    last_move: int
    """Number of the last move that is committed, or is in no file at all."""


class Move(NamedTuple):
    """The last move of the checkpoint of one stream."""

    stream: str
    offset: int
    number: int


class Moves:
    """A reader of the checkpoints of one read model file, with a connection of its own. For one thread at a time."""

    def __init__(self, standing: Standing) -> None:
        self.plugin = standing.plugin
        self.path = standing.path
        self.kinds = standing.kinds
        self._db = apsw.Connection(os.fspath(standing.path), flags=apsw.SQLITE_OPEN_READONLY)
        self._db.set_busy_timeout(_BUSY_TIMEOUT_MS)
        self._db.execute(f"PRAGMA cache_size=-{_CACHE_KIB}").fetchall()
        self.build = str(self._db.execute("SELECT value FROM meta WHERE key = 'build'").fetchall()[0][0])

    def between(self, after: int, last: int, count: int) -> list[Move]:
        """The next `count` moves behind the number `after`, up to `last`; each stream by its last move only."""
        if after >= last:
            return []
        rows = self._db.execute(
            "SELECT name, offset, moved FROM stream WHERE moved > ? AND moved <= ? ORDER BY moved LIMIT ?",
            (after, last, count),
        ).fetchall()
        return [Move(*cast(tuple[str, int, int], row)) for row in rows]

    def offset(self, stream: str) -> int:
        """Up to where a stream has been applied; 0 if it is unknown."""
        rows = self._db.execute("SELECT offset FROM stream WHERE name = ?", (stream,)).fetchall()
        return cast(int, rows[0][0]) if rows else 0

    def everything(self) -> Iterator[tuple[str, int, bytes]]:
        """Name, offset and first bytes of every stream, ordered by name."""
        return cast(
            "Iterator[tuple[str, int, bytes]]", self._db.execute("SELECT name, offset, head FROM stream ORDER BY name")
        )

    def close(self) -> None:
        """Close the file."""
        self._db.close()
