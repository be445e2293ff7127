"""The checkpoints of one read model file: rows of its table `stream`, looked up when they are needed.

A hundred thousand streams as Python objects would take 50 MB in every read model; a look-up takes microseconds, and what
was used last is remembered.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import apsw
import msgspec

from runicorn.events.envelope import Lines
from runicorn.events.log import Position, Stream

_REMEMBERED = 4096
_AT_ONCE = 500


class Checkpoint(msgspec.Struct, frozen=True):
    """How far a stream has been applied, and what it looked like then."""

    stream_id: int
    offset: int
    size: int
    inode: int
    modified_ns: int
    head: bytes
    checksum: int
    """CRC-32 of the bytes up to `offset`."""

    def is_at(self, position: Position) -> bool:
        """Whether nothing happened to the stream since: never judged by `<`, a replaced stream may be longer."""
        return self.size == position.size and self.modified_ns == position.modified_ns and self.inode == position.inode


class Reached(msgspec.Struct, frozen=True):
    """What a stream looked like when all of it had been read."""

    offset: int
    """Behind the last complete line."""
    position: Position
    head: bytes
    bad: int
    """Lines that are no events."""
    checksum: int
    """CRC-32 of the bytes up to `offset`."""


class Checkpoints:
    """Reads and moves checkpoints, inside the transactions of the file's owner."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._remembered: dict[str, Checkpoint | None] = {}
        self._added: list[tuple[object, ...]] = []
        """Rows that are not written yet."""
        self._last_id = 0
        """Of the last one of those."""
        self._count: int | None = None
        self._last_move: int | None = None

    @property
    def last_move(self) -> int:
        """The number of the last move. One that was undone is not given to another."""
        if self._last_move is None:
            [(last,)] = self._connection.execute("SELECT ifnull(max(moved), 0) FROM stream").fetchall()
            self._last_move = int(last)  # type: ignore[arg-type]  # the columns of the table
        return self._last_move

    @property
    def count(self) -> int:
        """The number of streams."""
        if self._count is None:
            [(count,)] = self._connection.execute("SELECT count(*) FROM stream").fetchall()
            self._count = int(count)  # type: ignore[arg-type]  # the columns of the table
        return self._count

    def get(self, name: str) -> Checkpoint | None:
        """The checkpoint of a stream; None if it is unknown."""
        try:
            return self._remembered[name]
        except KeyError:
            rows = self._connection.execute(
                "SELECT id, offset, size, inode, modified, head, checksum FROM stream WHERE name = ?", (name,)
            ).fetchall()
            return self._remember(name, Checkpoint(*rows[0]) if rows else None)  # type: ignore[arg-type]  # the columns of the table

    def all(self) -> Iterator[tuple[str, Checkpoint]]:
        """All streams, some hundred at a time: what changes between two steps may or may not be in it."""
        last = -1
        while True:
            rows = self._connection.execute(
                "SELECT name, id, offset, size, inode, modified, head, checksum FROM stream WHERE id > ?"
                " ORDER BY id LIMIT ?",
                (last, _AT_ONCE),
            ).fetchall()
            for name, *values in rows:
                checkpoint = Checkpoint(*values)  # type: ignore[arg-type]  # the columns of the table
                last = checkpoint.stream_id
                yield str(name), checkpoint
            if len(rows) < _AT_ONCE:
                return

    def move(self, stream: Stream, lines: Lines, position: Position, head: bytes) -> Checkpoint:
        """Say that `lines` are applied; `position` is what the stream looked like when they were read."""
        before = self.get(stream.name)
        checksum = lines.checksum(0 if before is None else before.checksum)
        return self.move_to(stream, Reached(lines.end, position, head, len(lines.bad), checksum))

    def add(self, stream: Stream, reached: Reached) -> Checkpoint:
        """The first checkpoint of a stream that has none; its row is written by `write_added`."""
        if not self._added:
            [(last,)] = self._connection.execute("SELECT ifnull(max(id), 0) FROM stream").fetchall()
            self._last_id = cast(int, last)
        self._last_id += 1
        end, position, checksum = reached.offset, reached.position, reached.checksum
        values = (end, position.size, position.inode, position.modified_ns, reached.head, checksum)
        self._added.append((self._last_id, stream.name, *values, reached.bad))
        self._remembered.pop(stream.name, None)
        self._count = None
        return Checkpoint(self._last_id, *values)

    @property
    def has_added(self) -> bool:
        """Whether rows are not written yet."""
        return bool(self._added)

    def write_added(self) -> None:
        """Write the rows of streams that were added: before anything else is asked of this object, or changed."""
        if self._added:
            self._connection.executemany(
                "INSERT INTO stream(id, name, offset, size, inode, modified, head, checksum, bad)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                self._added,
            )
            self._added.clear()

    def move_to(self, stream: Stream, reached: Reached) -> Checkpoint:
        """Say that a stream is applied as far as it was read; `reached.bad` is how many more lines are no events."""
        end, position, checksum = reached.offset, reached.position, reached.checksum
        before = self.get(stream.name)
        head = reached.head if before is None else before.head or reached.head
        move = self._last_move = self.last_move + 1
        values = (end, position.size, position.inode, position.modified_ns, head, checksum, reached.bad, move)
        if before is None:
            self._connection.execute(
                "INSERT INTO stream(offset, size, inode, modified, head, checksum, bad, moved, name)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*values, stream.name),
            )
            stream_id = self._connection.last_insert_rowid()
            self._count = None if self._count is None else self._count + 1
        else:
            stream_id = before.stream_id
            self._connection.execute(
                "UPDATE stream SET offset = ?, size = ?, inode = ?, modified = ?, head = ?, checksum = ?, bad = bad + ?,"
                " moved = ? WHERE id = ?",
                (*values, stream_id),
            )
        after = Checkpoint(stream_id, end, position.size, position.inode, position.modified_ns, head, checksum)
        self._remember(stream.name, after)
        return after

    def remove(self, name: str, checkpoint: Checkpoint) -> None:
        """Say that nothing of a stream is applied."""
        self._connection.execute("DELETE FROM stream WHERE id = ?", (checkpoint.stream_id,))
        self._remember(name, None)
        self._count = None if self._count is None else self._count - 1

    def reload(self) -> None:
        """Believe the file alone, after a transaction was undone."""
        self._remembered.clear()
        self._added.clear()
        self._count = None

    def _remember(self, name: str, checkpoint: Checkpoint | None) -> Checkpoint | None:
        if len(self._remembered) >= _REMEMBERED:
            self._remembered.clear()
        self._remembered[name] = checkpoint
        return checkpoint
