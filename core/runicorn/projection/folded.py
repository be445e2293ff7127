"""The pattern of a projection that converges by construction.

    part(entity, stream)   owned: what ONE stream says about one entity; folded in the order of the stream
    merged row             a pure function of ALL parts of the entity; computed again whenever one of them changes

Within a stream the later event wins, whatever its clock says; between streams the greater time wins, then the greater
stream name. (Integer stream ids depend on the order of discovery, so they decide nothing.)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar, Generic, TypeVar, cast

import msgspec

from runicorn.events.log import Stream, StreamKind
from runicorn.projection.base import Batch, Tables

V = TypeVar("V")


class Claim(msgspec.Struct, Generic[V], frozen=True, array_like=True):
    """What a stream says about one field, and since when."""

    ts: float
    value: V


def claim(ts: float, value: V, earlier: Claim[V] | None) -> Claim[V]:
    """A later claim of the same stream. Its time never lies before that of the `earlier` one, even if a clock jumped."""
    if ts != ts:
        ts = float("-inf") if earlier is None else earlier.ts
    return Claim(ts if earlier is None or ts >= earlier.ts else earlier.ts, value)


def latest(claims: Iterable[tuple[str, Claim[V] | None]]) -> Claim[V] | None:
    """The claim with the greatest (time, stream name); None if nobody claims anything."""
    best: Claim[V] | None = None
    best_stream = ""
    for stream, found in claims:
        if found is not None and (best is None or (found.ts, stream) > (best.ts, best_stream)):
            best, best_stream = found, stream
    return best


class Part(msgspec.Struct):
    """Base of the state that one stream contributes to one entity: claims and counters."""


S = TypeVar("S", bound=Part)


class Parts(Generic[S]):
    """The parts of one stream, loaded on demand and written back when changed."""

    def __init__(self, projection: FoldedProjection[S], stream: str, stream_id: int, tables: Tables | None) -> None:
        self._projection = projection
        self._stream = stream
        self._stream_id = stream_id
        self._tables = tables
        """None: nothing of this stream can be stored yet."""
        self._loaded: dict[str, tuple[S, bytes]] = {}

    def __getitem__(self, entity: str) -> S:
        """The part of `entity`, to be changed in place; a fresh one if the stream has said nothing about it yet."""
        found = self._loaded.get(entity)
        if found is None:
            rows = () if self._tables is None else self._stored(entity, self._tables)
            state = cast(bytes, rows[0][0]) if rows else b""
            part = self._projection.decode(state) if rows else self._projection.part_type()
            found = self._loaded[entity] = (part, state)
        return found[0]

    def _stored(self, entity: str, tables: Tables) -> Sequence[tuple[object, ...]]:
        if entity == self._stream:
            return tables.execute(self._projection.select_own, (self._stream_id,)).fetchall()
        return tables.execute(self._projection.select_part, (entity, self._stream_id)).fetchall()

    def changed(self) -> list[tuple[str, bytes]]:
        """Entities whose part is not what was loaded, with the encoded part."""
        encode = self._projection.encode
        return [(entity, new) for entity, (part, old) in self._loaded.items() if (new := encode(part)) != old]


class FoldedPreparation(Generic[S]):
    """The parts of one stream, folded away from the tables."""

    def __init__(self, projection: FoldedProjection[S]) -> None:
        self._projection = projection
        self.parts = Parts(projection, "", 0, None)

    def add(self, batch: Batch) -> None:
        """Fold the next events."""
        self._projection.fold(self.parts, batch)

    def take(self, *, is_end: bool) -> list[tuple[str, bytes]] | None:
        """Entities with their encoded parts, at the end."""
        return self.parts.changed() if is_end else None


class FoldedProjection(ABC, Generic[S]):
    """Base class for projections of this pattern: implement `fold`, `merge` and give `tables_schema`.

    What a stream says about the entity of its own name lives in the table `<name>_own`, about another one in `<name>_part`;
    so the usual part takes no name, and is written behind the one before. The merged tables are the subclass's own.
    """

    name: str
    version: int
    streams: frozenset[StreamKind] = frozenset({"run", "artifact", "store"})
    part_type: type[S]
    tables_schema: ClassVar[str]
    is_merged: ClassVar[str] = "0"
    """Condition in SQL that an `apply_prepared` which writes merged rows itself has done so for the stream `s`."""

    def __init__(self) -> None:
        own, other = f"{self.name}_own", f"{self.name}_part"
        self.encode = msgspec.msgpack.Encoder().encode
        self.decode = msgspec.msgpack.Decoder(self.part_type).decode
        self.select_own = f"SELECT state FROM {own} WHERE stream_id = ?"
        self.select_part = f"SELECT state FROM {other} WHERE entity = ? AND stream_id = ?"
        self._all_parts = (
            f"SELECT s.name, o.state FROM stream s JOIN {own} o ON o.stream_id = s.id WHERE s.name = ?1 UNION ALL"
            f" SELECT s.name, p.state FROM {other} p JOIN stream s ON s.id = p.stream_id WHERE p.entity = ?1"
        )
        self._of_others = f"SELECT DISTINCT entity FROM {other}"
        self._of_one_only = (
            f"SELECT s.name, o.state FROM {own} o CROSS JOIN stream s ON s.id = o.stream_id"
            f" WHERE NOT EXISTS (SELECT 1 FROM {other} WHERE entity = s.name) AND NOT {self.is_merged}"
        )
        self._is_of_another = f"SELECT 1 FROM {other} WHERE entity = ? LIMIT 1"
        self._store_own = f"INSERT OR REPLACE INTO {own}(stream_id, state) VALUES (?, ?)"
        self._store_part = f"INSERT OR REPLACE INTO {other}(entity, stream_id, state) VALUES (?, ?, ?)"
        self._entities = (
            f"SELECT s.name FROM {own} o JOIN stream s ON s.id = o.stream_id WHERE o.stream_id = ?1"
            f" UNION ALL SELECT entity FROM {other} WHERE stream_id = ?1"
        )
        self._forget = tuple(f"DELETE FROM {table} WHERE stream_id = ?" for table in (own, other))

    @property
    def schema(self) -> str:
        """The tables of parts, then the subclass's tables."""
        return f"""
            CREATE TABLE {self.name}_own(stream_id INTEGER PRIMARY KEY, state BLOB NOT NULL);
            CREATE TABLE {self.name}_part(
                entity TEXT NOT NULL, stream_id INTEGER NOT NULL, state BLOB NOT NULL,
                PRIMARY KEY(entity, stream_id)) WITHOUT ROWID;
            CREATE INDEX {self.name}_part_stream ON {self.name}_part(stream_id);
            {self.tables_schema}
        """

    @abstractmethod
    def fold(self, parts: Parts[S], batch: Batch) -> None:
        """Change `parts[entity]` by the events of a batch."""

    @abstractmethod
    def merge(self, entity: str, parts: Sequence[tuple[str, S]], tables: Tables) -> None:
        """Write the merged rows of `entity` from all its parts, `(stream name, part)`; remove them if there are none."""

    def apply(self, batch: Batch, tables: Tables) -> None:
        """Fold the batch into the parts of its stream, then merge what changed."""
        parts = Parts(self, batch.stream.name, batch.stream_id, tables if batch.start else None)
        self.fold(parts, batch)
        self._store(parts.changed(), batch.stream, batch.stream_id, tables)

    def preparation(self, stream: Stream) -> FoldedPreparation[S]:
        """See `PreparesStreams`. A subclass with an `apply` of its own has to override this one and the next one, too."""
        return FoldedPreparation(self)

    def apply_prepared(self, stream: Stream, stream_id: int, prepared: object, tables: Tables) -> None:
        """Store the parts of a stream, then merge them."""
        changed = cast("list[tuple[str, bytes]]", prepared)
        if tables.postpones_merges and len(changed) == 1 and changed[0][0] == stream.name:
            tables.collect(self._store_own, (stream_id, changed[0][1]))
        else:
            self._store(changed, stream, stream_id, tables)

    def _store(self, changed: Sequence[tuple[str, bytes]], stream: Stream, stream_id: int, tables: Tables) -> None:
        for entity, state in changed:
            if entity == stream.name:
                tables.execute(self._store_own, (stream_id, state))
            else:
                tables.execute(self._store_part, (entity, stream_id, state))
        for entity, _ in changed:
            self._merge(entity, tables)

    def forget(self, stream_id: int, tables: Tables) -> None:
        """Delete the parts of a stream, then merge the entities that it spoke of."""
        entities = [str(row[0]) for row in tables.execute(self._entities, (stream_id,))]
        for statement in self._forget:
            tables.execute(statement, (stream_id,))
        for entity in entities:
            self._merge(entity, tables)

    def merge_all(self, tables: Tables) -> None:
        """See `MergesLast`."""
        for name, state in tables.execute(self._of_one_only):
            self.merge(str(name), [(str(name), self.decode(cast(bytes, state)))], tables)
        for (entity,) in tables.execute(self._of_others):
            self._merge_parts(str(entity), tables)

    def is_of_another(self, entity: str, tables: Tables) -> bool:
        """Whether another stream than the one of its name speaks of an entity."""
        return bool(tables.execute(self._is_of_another, (entity,)).fetchall())

    def _merge(self, entity: str, tables: Tables) -> None:
        if not tables.postpones_merges:
            self._merge_parts(entity, tables)

    def _merge_parts(self, entity: str, tables: Tables) -> None:
        rows = tables.execute(self._all_parts, (entity,)).fetchall()
        self.merge(entity, [(str(name), self.decode(cast(bytes, state))) for name, state in sorted(rows)], tables)
