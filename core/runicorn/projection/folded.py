"""The pattern of a projection that converges by construction.

    part(entity, stream)   owned: what ONE stream says about one entity; folded in the order of the stream
    merged row             a pure function of ALL parts of the entity; computed again whenever one of them changes

Within a stream the later event wins, whatever its clock says; between streams the greater time wins, then the greater
stream name. (Integer stream ids depend on the order of discovery, so they decide nothing.)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from itertools import groupby
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

    def __init__(self, projection: FoldedProjection[S], stream_id: int, tables: Tables | None) -> None:
        self._projection = projection
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
        return tables.execute(self._projection.select_part, (entity, self._stream_id)).fetchall()

    def changed(self) -> list[tuple[str, bytes]]:
        """Entities whose part is not what was loaded, with the encoded part."""
        encode = self._projection.encode
        return [(entity, new) for entity, (part, old) in self._loaded.items() if (new := encode(part)) != old]


class FoldedPreparation(Generic[S]):
    """The parts of one stream, folded away from the tables."""

    def __init__(self, projection: FoldedProjection[S]) -> None:
        self._projection = projection
        self._parts = Parts(projection, 0, None)

    def add(self, batch: Batch) -> None:
        """Fold the next events."""
        self._projection.fold(self._parts, batch)

    def take(self, *, is_end: bool) -> list[tuple[str, bytes]] | None:
        """Entities with their encoded parts, at the end."""
        return self._parts.changed() if is_end else None


class FoldedProjection(ABC, Generic[S]):
    """Base class for projections of this pattern: implement `fold`, `merge` and give `tables_schema`.

    The parts live in the table `<name>_part`; the merged tables are the subclass's own.
    """

    name: str
    version: int
    streams: frozenset[StreamKind] = frozenset({"run", "artifact", "store"})
    part_type: type[S]
    tables_schema: ClassVar[str]

    def __init__(self) -> None:
        table = f"{self.name}_part"
        self.encode = msgspec.msgpack.Encoder().encode
        self.decode = msgspec.msgpack.Decoder(self.part_type).decode
        self.select_part = f"SELECT state FROM {table} WHERE entity = ? AND stream_id = ?"
        self._all_parts = (
            f"SELECT s.name, p.state FROM {table} p JOIN stream s ON s.id = p.stream_id WHERE p.entity = ?"
        )
        self._every_part = (
            f"SELECT p.entity, s.name, p.state FROM {table} p CROSS JOIN stream s ON s.id = p.stream_id"
            " ORDER BY p.entity"
        )
        self._store_part = f"INSERT OR REPLACE INTO {table}(entity, stream_id, state) VALUES (?, ?, ?)"
        self._entities = f"SELECT entity FROM {table} WHERE stream_id = ?"
        self._forget = f"DELETE FROM {table} WHERE stream_id = ?"

    @property
    def schema(self) -> str:
        """The table of parts, then the subclass's tables."""
        return f"""
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
        parts = Parts(self, batch.stream_id, tables if batch.start else None)
        self.fold(parts, batch)
        self._store(parts.changed(), batch.stream_id, tables)

    def preparation(self, stream: Stream) -> FoldedPreparation[S]:
        """See `PreparesStreams`. A subclass with an `apply` of its own has to override this one and the next one, too."""
        return FoldedPreparation(self)

    def apply_prepared(self, stream: Stream, stream_id: int, prepared: object, tables: Tables) -> None:
        """Store the parts of a stream, then merge them."""
        self._store(cast("list[tuple[str, bytes]]", prepared), stream_id, tables)

    def _store(self, changed: Sequence[tuple[str, bytes]], stream_id: int, tables: Tables) -> None:
        tables.executemany(self._store_part, [(entity, stream_id, state) for entity, state in changed])
        for entity, _ in changed:
            self._merge(entity, tables)

    def forget(self, stream_id: int, tables: Tables) -> None:
        """Delete the parts of a stream, then merge the entities that it spoke of."""
        entities = [str(row[0]) for row in tables.execute(self._entities, (stream_id,))]
        tables.execute(self._forget, (stream_id,))
        for entity in entities:
            self._merge(entity, tables)

    def merge_all(self, tables: Tables) -> None:
        """See `MergesLast`."""
        rows = tables.execute(self._every_part)
        for entity, group in groupby(rows, key=lambda row: row[0]):
            parts = sorted((str(name), cast(bytes, state)) for _, name, state in group)
            self.merge(str(entity), [(name, self.decode(state)) for name, state in parts], tables)

    def _merge(self, entity: str, tables: Tables) -> None:
        if tables.postpones_merges:
            return
        rows = tables.execute(self._all_parts, (entity,)).fetchall()
        self.merge(entity, [(str(name), self.decode(cast(bytes, state))) for name, state in sorted(rows)], tables)
