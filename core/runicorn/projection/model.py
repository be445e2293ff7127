"""One read model file: the SQLite database of one plugin, its projections, and a checkpoint per stream.

The checkpoint is committed with the rows that it covers: every event is applied exactly once, whatever is killed when.
See `generations` for how the files are named, and which one serves.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import apsw

from runicorn.events.envelope import Lines
from runicorn.events.log import Position, Stream, StreamKind
from runicorn.patience import BUILT_IN, Patience
from runicorn.projection.base import (
    Batch,
    KnowsActiveStreams,
    MergesLast,
    PreparesStreams,
    Projection,
    Tables,
    WritesAtCommit,
    kinds_of,
)
from runicorn.projection.blame import DAMAGE, STORAGE_ERRORS, ModelDamaged, ModelFailed
from runicorn.projection.checkpoints import Checkpoint, Checkpoints, Reached
from runicorn.projection.generations import fingerprint, newest, next_path, set_aside
from runicorn.projection.model_file import (
    BUSY_TIMEOUT_MS,
    create_or_check,
    postpone_indexes,
    set_pragmas,
    shrink,
    truncate_wal,
)
from runicorn.projection.moves import Standing
from runicorn.projection.prepared import Prepared

logger = logging.getLogger("runicorn.projection")

_NOTHING = Reached(0, Position(0, 0, 0), b"", 0, 0)


class ReadModel:
    """The writing side of one file. Only the projector, or a rebuild, has one.

    `is_scratch` is for a file that is thrown away if the process or the machine dies: faster, and without a journal.
    Whatever the projections raise comes out as ModelFailed; `patience` is how long they are waited for.
    """

    def __init__(
        self,
        path: Path,
        plugin: str,
        projections: Sequence[Projection],
        *,
        is_scratch: bool = False,
        patience: Patience | None = None,
    ) -> None:
        self.path = path
        self.plugin = plugin
        self.projections = projections
        self.patience = patience or Patience()
        self.is_closed = False
        self._lent: apsw.Connection | None = None
        self._kinds = kinds_of(projections)
        self._preparing = [one if isinstance(one, PreparesStreams) else None for one in projections]
        self._connection = apsw.Connection(os.fspath(path))
        self._tables = Tables(self._connection)
        self._checkpoints = Checkpoints(self._connection)
        self._writing_at_commit = [p for p in projections if isinstance(p, WritesAtCommit)]
        self._in_transaction = False
        self._moved: dict[str, int] = {}
        self._postponed: list[str] = []
        self._begun: dict[str, Checkpoint] = {}
        """Streams of which a piece was prepared, and not yet the last one."""
        try:
            set_pragmas(self._connection, is_scratch=is_scratch)
            with self.transaction():
                self.ready = create_or_check(self._connection, path, projections)
            if self.ready:
                shrink(self._connection)
            elif is_scratch:
                self._tables.postpones_merges = True
                with self.transaction():
                    self._postponed = postpone_indexes(self._connection, projections)
        except BaseException as error:
            self._connection.close()
            if isinstance(error, DAMAGE):
                raise ModelDamaged(path) from error
            raise

    @classmethod
    def open_newest(
        cls, state_dir: Path, plugin: str, projections: Sequence[Projection], *, patience: Patience | None = None
    ) -> ReadModel:
        """Open the newest ready file of these projections, else the newest unfinished one, else a new one.

        A file that SQLite cannot read is set aside as `*.damaged` and built again: it is only a cache.
        """
        path = newest(state_dir, plugin, fingerprint(projections)) or next_path(state_dir, plugin, projections)
        try:
            return cls(path, plugin, projections, patience=patience)
        except ModelDamaged as damage:
            logger.error("%s and will be built again", damage)
            set_aside(path)
            return cls(next_path(state_dir, plugin, projections), plugin, projections, patience=patience)

    @contextlib.contextmanager
    def transaction(self) -> Generator[None]:
        """One commit for everything inside; an inner transaction joins the outer one.

        ModelDamaged if it cannot be had, ModelFailed if the projections are to blame for that.
        """
        if self._in_transaction:
            yield
            return
        with self.blamed():
            self._connection.execute("BEGIN IMMEDIATE")
        self._in_transaction = True
        try:
            yield
            if self._writing_at_commit:
                with self.blamed("before_commit"):
                    for projection in self._writing_at_commit:
                        projection.before_commit(self._tables)
            self._write_collected()
            with self.blamed():  # a projection may have closed the connection, or ended the transaction
                self._connection.execute("COMMIT")
            self._moved.update(self._tables.end_transaction())
        except BaseException:
            with contextlib.suppress(apsw.Error):  # what went wrong first is what to tell
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                self._checkpoints.reload()
            self._begun.clear()
            self._tables.end_transaction()
            self._tables.memory.clear()
            raise
        finally:
            self._in_transaction = False

    @contextlib.contextmanager
    def blamed(self, what: str = "", *, is_limited: bool = True) -> Generator[None]:
        """Tell whether the disk, the file or the projections are to blame for what is raised: ModelFailed if it is they.

        `what` of theirs is called inside, and waited for, unless the caller sees to that itself (`is_limited` false);
        empty: nothing, but they may have left something that raises now.
        """
        try:
            if what and is_limited:
                with self.patience.call(self.plugin, what):
                    yield
            else:
                yield
        except MemoryError as error:
            if self.plugin in BUILT_IN:
                raise
            raise ModelFailed(self, error) from error
        except (*STORAGE_ERRORS, ModelDamaged, ModelFailed, KeyboardInterrupt):
            raise
        except DAMAGE as error:
            raise ModelDamaged(self.path) from error
        except BaseException as error:  # a stranger's projection may raise anything, and exit
            if not what and self.plugin in BUILT_IN:
                raise  # a moment's trouble with the file: a new process will do
            raise ModelFailed(self, error) from error

    @property
    def connection(self) -> apsw.Connection:
        """For queries by sources of the same plugin, in the projector process. Not for writing."""
        if self.plugin in BUILT_IN:
            return self._connection
        try:
            if self._lent is not None and self._lent.txn_state() == apsw.SQLITE_TXN_NONE:
                return self._lent
        except apsw.ConnectionClosedError:
            pass
        self._let_go()
        self._lent = apsw.Connection(os.fspath(self.path), flags=apsw.SQLITE_OPEN_READONLY)
        self._lent.set_busy_timeout(BUSY_TIMEOUT_MS)
        return self._lent

    def checkpoint(self, stream: Stream) -> Checkpoint | None:
        """How far the stream has been applied; None if it is unknown here. ModelFailed if the projections took the table."""
        try:
            return self._checkpoints.get(stream.name)
        except (apsw.SQLError, apsw.ConnectionClosedError) as error:
            raise ModelFailed(self, error) from error

    def checkpoints(self) -> Iterator[tuple[str, Checkpoint]]:
        """The names and checkpoints of all streams; what changes meanwhile may or may not be in it. It ends with `close`."""
        if not self.is_closed:
            for known in self._checkpoints.all():
                yield known
                if self.is_closed:
                    return

    @property
    def standing(self) -> Standing:
        """Where it stands, for those that follow the moves of checkpoints. Outside of transactions. ModelFailed."""
        with self.blamed():
            return Standing(self.plugin, self.path, self._kinds, self.ready, self._checkpoints.last_move)

    @property
    def stream_count(self) -> int:
        """How many streams have a checkpoint."""
        return self._checkpoints.count

    def apply(self, stream: Stream, lines: Lines, position: Position, head: bytes) -> None:
        """Apply what follows the checkpoint of `stream`, and move the checkpoint, in one transaction.

        `position` is what the stream looked like when `lines` were read from it; nothing complete is left in it, or its
        `modified_ns` is 0. ValueError if `lines` begin elsewhere.
        """
        with self.transaction():
            self._write_collected()
            before = self._checkpoints.get(stream.name)
            start = 0 if before is None else before.offset
            if lines.start != start:
                raise ValueError(f"{stream.name}: lines from {lines.start} do not follow the checkpoint {start}")
            after = self._checkpoints.move(stream, lines, position, head)
            if lines.end > lines.start:
                batch = Batch(stream, after.stream_id, lines)
                for projection in self.projections:
                    if stream.kind in projection.streams:
                        projection.apply(batch, self._tables)

    def reads(self, kind: StreamKind) -> bool:
        """Whether any of its projections is given streams of this kind: of others there is no checkpoint."""
        return kind in self._kinds

    def prepares(self, kind: StreamKind) -> bool:
        """Whether streams of this kind can be prepared in another process, for all projections."""
        return all(isinstance(p, PreparesStreams) for p in self.projections if kind in p.streams)

    def apply_prepared(self, pieces: Sequence[Prepared]) -> None:
        """Write what its projections prepared of streams, of which the file has nothing but what this wrote.

        One projection after the other, each in the order of the pieces. Inside a transaction. ModelFailed if one raises.
        """
        with self.blamed("apply_prepared", is_limited=False):
            stream_ids = [self._begin_or_end(piece.stream, piece.end) for piece in pieces]
            for place, projection in enumerate(self._preparing):
                if projection is None:
                    continue
                for piece, stream_id in zip(pieces, stream_ids, strict=True):
                    value = piece.values[self.plugin][place]
                    if value is not None:
                        with self.patience.call(self.plugin, "apply_prepared"):
                            projection.apply_prepared(piece.stream, stream_id, value, self._tables)

    def _begin_or_end(self, stream: Stream, end: Reached | None) -> int:
        known = self._begun.pop(stream.name, None)
        if known is None:
            known = self._checkpoints.add(stream, end or _NOTHING)
        elif end is not None:
            self._checkpoints.write_added()
            known = self._checkpoints.move_to(stream, end)
        if end is None:
            self._begun[stream.name] = known
        return known.stream_id

    def _write_collected(self) -> None:
        if self._checkpoints.has_added or self._tables.has_collected:
            with self.blamed("apply_prepared"):
                self._checkpoints.write_added()
                self._tables.write_collected()

    def forget(self, stream: Stream) -> None:
        """Undo all that a stream contributed, and its checkpoint."""
        self._write_collected()
        self._begun.pop(stream.name, None)
        known = self._checkpoints.get(stream.name)
        if known is None:
            return
        with self.transaction():
            for projection in self.projections:
                if stream.kind in projection.streams:
                    projection.forget(known.stream_id, self._tables)
            self._checkpoints.remove(stream.name, known)

    def active_streams(self) -> list[str]:
        """Names of the streams that its projections expect to grow, the most recent first. ModelFailed."""
        names: list[str] = []
        for projection in self.projections:
            if isinstance(projection, KnowsActiveStreams):
                with self.blamed("active_streams"):
                    names += [Stream.named(name).name for name in projection.active_streams(self._tables)]
                    self._connection.changes()  # or it is closed, which nobody else shall notice
        return names

    def take_counters(self) -> dict[str, int]:
        """The counters that commits moved since the last call, with their new values."""
        moved, self._moved = self._moved, {}
        return moved

    def mark_ready(self) -> None:
        """Say that every stream that existed has been applied once: readers may move to this file."""
        if not self.ready:
            with self.transaction():
                if self._tables.postpones_merges:
                    self._tables.postpones_merges = False
                    for projection in self.projections:
                        if isinstance(projection, MergesLast):
                            with self.blamed("merge_all"):
                                projection.merge_all(self._tables)
                for index in self._postponed:
                    self._connection.execute(index)
                self._postponed = []
                self._connection.execute("UPDATE meta SET value = 1 WHERE key = 'ready'")
            self.ready = True
            shrink(self._connection)

    def note_progress(self, share: float) -> None:
        """Say to whoever would read the file how much of the log it holds, 0…1. Inside a transaction of `apply`."""
        if not self.ready:
            self._connection.execute("INSERT OR REPLACE INTO meta VALUES ('progress', ?)", (share,))

    def end_scratch(self, *, has_wal: bool = True) -> None:
        """A finished scratch file becomes like any other, before it is closed and made durable.

        Without a WAL it is one file that can be copied, and read where nothing can be written.
        """
        self._connection.execute(f"PRAGMA journal_mode={'wal' if has_wal else 'delete'}").fetchall()

    def truncate_wal(self) -> None:
        """Write the WAL back into the database file, unless a reader is busy with it."""
        truncate_wal(self._connection)

    def close(self) -> None:
        """Close the file; nothing is lost without it."""
        self.is_closed = True
        self._let_go()
        self._connection.close()

    def _let_go(self) -> None:
        if self._lent is not None:
            self._lent.close()
            self._lent = None


def readers(models: Sequence[ReadModel], stream: Stream) -> Sequence[ReadModel]:
    """Those that read a stream. All where none does: how far it was seen is known in any case."""
    return [model for model in models if model.reads(stream.kind)] or models
