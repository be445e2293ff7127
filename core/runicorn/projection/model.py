"""One read model file: the SQLite database of one plugin, its projections, and a checkpoint per stream.

The checkpoint is committed with the rows that it covers: every event is applied exactly once, whatever is killed when.
Files are named `<plugin>-<fingerprint>-<generation>.db`. The fingerprint stands for the names, versions and schemas of the
projections; a new generation is built beside the one that serves and takes over once it is *ready*.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
from collections.abc import Generator, Sequence
from pathlib import Path

import apsw
import msgspec

from runicorn.events.envelope import Lines
from runicorn.events.log import Position, Stream
from runicorn.projection.base import Batch, KnowsActiveStreams, Projection, Tables

logger = logging.getLogger("runicorn.projection")

_FORMAT = 1  # of the framework's own tables
_NAME = re.compile(r"(?P<plugin>[a-z0-9_]+)-(?P<fingerprint>[0-9a-f]{12})-(?P<generation>[0-9]{6})\.db")

_SCHEMA = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE counter(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE stream(
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,
    offset INTEGER NOT NULL DEFAULT 0,   -- the checkpoint: applied up to here
    size INTEGER NOT NULL DEFAULT 0,     -- the stream's size when it was last looked at (a torn tail is beyond offset)
    inode INTEGER NOT NULL DEFAULT 0,
    head BLOB NOT NULL DEFAULT x'',      -- the first bytes, to notice a replaced stream
    bad INTEGER NOT NULL DEFAULT 0);     -- lines that were not events
"""


class Checkpoint(msgspec.Struct, frozen=True):
    """How far a stream has been applied, and what it looked like then."""

    stream_id: int
    offset: int
    size: int
    inode: int
    head: bytes

    def is_at(self, position: Position) -> bool:
        """Whether nothing happened to the stream since: never judged by `<`, a replaced stream may be longer."""
        return self.size == position.size and self.inode == position.inode


class ModelFile(msgspec.Struct, frozen=True):
    """The name of a read model file, taken apart."""

    path: Path
    plugin: str
    fingerprint: str
    generation: int


def fingerprint(projections: Sequence[Projection]) -> str:
    """12 hex digits for the names, versions and schemas of `projections` and for the framework's own tables."""
    text = "\0".join(f"{p.name}\0{p.version}\0{p.schema}" for p in sorted(projections, key=lambda p: p.name))
    return hashlib.sha256(f"{_FORMAT}\0{_SCHEMA}\0{text}".encode()).hexdigest()[:12]


def model_files(state_dir: Path, plugin: str) -> list[ModelFile]:
    """The files of a plugin in the state directory, newest generation first."""
    found: list[ModelFile] = []
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(state_dir):
            match = _NAME.fullmatch(name)
            if match is not None and match["plugin"] == plugin:
                found.append(ModelFile(state_dir / name, plugin, match["fingerprint"], int(match["generation"])))
    return sorted(found, key=lambda file: file.generation, reverse=True)


class ReadModel:
    """The writing side of one file. Only the projector, or a rebuild, has one."""

    def __init__(self, path: Path, plugin: str, projections: Sequence[Projection]) -> None:
        self.path = path
        self.plugin = plugin
        self.projections = projections
        self._connection = apsw.Connection(os.fspath(path))
        self._tables = Tables(self._connection)
        self._in_transaction = False
        self._checkpoints: dict[str, Checkpoint] = {}
        self._moved: dict[str, int] = {}
        self._set_pragmas()
        self.ready = self._create_or_check()
        self._load_checkpoints()

    @classmethod
    def open_newest(cls, state_dir: Path, plugin: str, projections: Sequence[Projection]) -> ReadModel:
        """Open the newest ready file of these projections, else the newest unfinished one, else a new one.

        A file that SQLite cannot read is set aside as `*.damaged` and built again: it is only a cache.
        """
        path = newest(state_dir, plugin, fingerprint(projections)) or next_path(state_dir, plugin, projections)
        try:
            return cls(path, plugin, projections)
        except apsw.Error:
            logger.exception("the read model %s is damaged and will be built again", path.name)
            for suffix in ("-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            path.replace(path.with_suffix(".damaged"))
            return cls(next_path(state_dir, plugin, projections), plugin, projections)

    @contextlib.contextmanager
    def transaction(self) -> Generator[None]:
        """One commit for everything inside; an inner transaction joins the outer one."""
        if self._in_transaction:
            yield
            return
        self._connection.execute("BEGIN IMMEDIATE")
        self._in_transaction = True
        try:
            yield
            self._connection.execute("COMMIT")
            self._moved.update(self._tables.end_transaction())
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            self._load_checkpoints()
            self._tables.end_transaction()
            raise
        finally:
            self._in_transaction = False

    @property
    def connection(self) -> apsw.Connection:
        """For queries by sources of the same plugin, in the projector process. Not for writing."""
        return self._connection

    def checkpoint(self, stream: Stream) -> Checkpoint | None:
        """How far the stream has been applied; None if it is unknown here."""
        return self._checkpoints.get(stream.name)

    def streams(self) -> list[str]:
        """Names of all streams with a checkpoint."""
        return list(self._checkpoints)

    def apply(self, stream: Stream, lines: Lines, position: Position, head: bytes) -> None:
        """Apply what follows the checkpoint of `stream`, and move the checkpoint, in one transaction.

        `position` is what the stream looked like before `lines` were read. ValueError if `lines` begin elsewhere.
        """
        with self.transaction():
            before = self._checkpoints.get(stream.name) or self._add(stream)
            if lines.start != before.offset:
                raise ValueError(
                    f"{stream.name}: lines from {lines.start} do not follow the checkpoint {before.offset}"
                )
            if lines.end > lines.start:
                batch = Batch(stream, before.stream_id, lines)
                for projection in self.projections:
                    if stream.kind in projection.streams:
                        projection.apply(batch, self._tables)
            size = max(position.size, lines.end)
            after = Checkpoint(before.stream_id, lines.end, size, position.inode, before.head or head)
            self._connection.execute(
                "UPDATE stream SET offset = ?, size = ?, inode = ?, head = ?, bad = bad + ? WHERE id = ?",
                (after.offset, after.size, after.inode, after.head, len(lines.bad), after.stream_id),
            )
            self._checkpoints[stream.name] = after

    def forget(self, stream: Stream) -> None:
        """Undo all that a stream contributed, and its checkpoint."""
        known = self._checkpoints.get(stream.name)
        if known is None:
            return
        with self.transaction():
            for projection in self.projections:
                if stream.kind in projection.streams:
                    projection.forget(known.stream_id, self._tables)
            self._connection.execute("DELETE FROM stream WHERE id = ?", (known.stream_id,))
            del self._checkpoints[stream.name]

    def active_streams(self) -> list[str]:
        """Names of the streams that its projections expect to grow, the most recent first."""
        return [
            name
            for projection in self.projections
            if isinstance(projection, KnowsActiveStreams)
            for name in projection.active_streams(self._tables)
        ]

    def take_counters(self) -> dict[str, int]:
        """The counters that commits moved since the last call, with their new values."""
        moved, self._moved = self._moved, {}
        return moved

    def mark_ready(self) -> None:
        """Say that every stream that existed has been applied once: readers may move to this file."""
        if not self.ready:
            with self.transaction():
                self._connection.execute("UPDATE meta SET value = 1 WHERE key = 'ready'")
            self.ready = True

    def truncate_wal(self) -> None:
        """Write the WAL back into the database file; without this it only grows while readers are busy."""
        with contextlib.suppress(apsw.BusyError):
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)

    def close(self) -> None:
        """Close the file; nothing is lost without it."""
        self._connection.close()

    def _add(self, stream: Stream) -> Checkpoint:
        self._connection.execute("INSERT INTO stream(name) VALUES (?)", (stream.name,))
        return Checkpoint(self._connection.last_insert_rowid(), 0, 0, 0, b"")

    def _set_pragmas(self) -> None:
        self._connection.set_busy_timeout(5000)
        # A machine crash may take the last commits, never their consistency, and the log has every event:
        # `normal` is enough. (A process that is killed loses nothing either way.)
        for pragma in (
            "page_size=8192",
            "journal_mode=wal",
            "synchronous=normal",
            "cache_size=-16000",
            "temp_store=memory",
        ):
            self._connection.execute(f"PRAGMA {pragma}").fetchall()

    def _create_or_check(self) -> bool:
        with self.transaction():
            if self._connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'meta'").fetchall():
                return bool(self._connection.execute("SELECT value FROM meta WHERE key = 'ready'").fetchall()[0][0])
            for script in (_SCHEMA, *(projection.schema for projection in self.projections)):
                self._connection.execute(script).fetchall()
            # Counters start again in every file: thanks to this token an ETag of an older file never matches.
            self._connection.execute("INSERT INTO meta VALUES ('build', ?), ('ready', 0)", (os.urandom(6).hex(),))
            return False

    def _load_checkpoints(self) -> None:
        rows = self._connection.execute("SELECT name, id, offset, size, inode, head FROM stream")
        self._checkpoints = {str(row[0]): Checkpoint(*row[1:]) for row in rows}  # type: ignore[arg-type]


def newest(state_dir: Path, plugin: str, own: str) -> Path | None:
    """The newest ready file with the fingerprint `own`, else the newest unfinished one, else None."""
    files = [file.path for file in model_files(state_dir, plugin) if file.fingerprint == own]
    return next((path for path in files if is_ready(path)), files[0] if files else None)


def next_path(state_dir: Path, plugin: str, projections: Sequence[Projection]) -> Path:
    """The path of a new generation."""
    generation = max((file.generation for file in model_files(state_dir, plugin)), default=0) + 1
    return state_dir / f"{plugin}-{fingerprint(projections)}-{generation:06d}.db"


def is_ready(path: Path) -> bool:
    """Whether a file holds a complete build; False for one that is unfinished or not readable."""
    try:
        connection = apsw.Connection(os.fspath(path), flags=apsw.SQLITE_OPEN_READONLY)
    except apsw.Error:
        return False
    try:
        rows = connection.execute("SELECT value FROM meta WHERE key = 'ready'").fetchall()
        return bool(rows and rows[0][0])
    except apsw.Error:
        return False
    finally:
        connection.close()


def remove_file(path: Path) -> None:
    """Remove a read model file with its WAL."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
