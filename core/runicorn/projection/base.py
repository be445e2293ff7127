"""What a projection is: a named, versioned, pure function of events into tables.

Pure means: no clock, no randomness, no network, no file reads. Every table is either *owned* (has a `stream_id`, written
only from that stream's events, removed by `forget`) or *merged* (a pure function of the owned rows of one entity,
computed again when they change). Then any interleaving of streams ends in the same rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from functools import cached_property
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

import apsw

from runicorn.events.envelope import Event, InvalidPayload, Lines, Payload, decode_payload
from runicorn.events.log import Stream, StreamKind

P = TypeVar("P", bound=Payload)


class Batch:
    """Consecutive events of one stream, in order. `stream_id` is the stream's key in this SQLite file."""

    def __init__(self, stream: Stream, stream_id: int, lines: Lines) -> None:
        self.stream = stream
        self.stream_id = stream_id
        self.start = lines.start
        self.end = lines.end
        self.events: Sequence[Event] = lines.events
        self.shared: dict[str, Any] = {}
        """What projections of one plugin make of it together, by names of theirs: worked out once."""
        self._lines = lines

    @property
    def offsets(self) -> Sequence[int]:
        """Offset of each event of `events`."""
        return self._lines.offsets

    def offsets_of(self, places: Sequence[int]) -> list[int]:
        """Offsets of the events at these places in `events`, which ascend: cheaper than all, if they are few."""
        return self._lines.offsets_of(places)

    @cached_property
    def places(self) -> Mapping[str, Sequence[int]]:
        """By type of event: where they are in `events`."""
        types = [event.type for event in self.events]
        if types and types.count(types[0]) == len(types):  # as where metrics alone were logged
            return {types[0]: range(len(types))}
        found: dict[str, list[int]] = {}
        for place, type in enumerate(types):
            known = found.get(type)
            if known is None:
                found[type] = [place]
            else:
                known.append(place)
        return found

    @property
    def types(self) -> Set[str]:
        """The types of its events."""
        return self.places.keys()

    def payloads(self, *types: type[P]) -> Iterator[tuple[Event, P]]:
        """The events of the given types with their decoded payloads; an invalid payload is passed over."""
        by_name = {payload.event_type: payload for payload in types}
        places = [place for name in by_name if name in self.places for place in self.places[name]]
        for place in sorted(places):
            event = self.events[place]
            try:
                yield event, decode_payload(event, by_name[event.type])
            except InvalidPayload:
                continue


class Tables:
    """The SQLite file of a plugin, as a projection sees it: inside a transaction that the framework commits."""

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection
        self.postpones_merges = False
        """True while a file is built that nobody reads: merged rows are then computed once, at the end, by `merge_all`."""
        self.memory: dict[str, Any] = {}
        """What projections remember of this file between batches, by their names; empty after a transaction was undone."""
        self._touched: dict[str, int] = {}
        self._collected: dict[str, list[Sequence[apsw.SQLiteValue]]] = {}

    def execute(self, sql: str, parameters: Sequence[apsw.SQLiteValue] = ()) -> apsw.Cursor:
        """Run one statement; iterate over the cursor for rows."""
        return self.connection.execute(sql, parameters)

    def executemany(self, sql: str, rows: Iterable[Sequence[apsw.SQLiteValue]]) -> None:
        """Run one statement for each row of parameters."""
        self.connection.executemany(sql, rows)

    def collect(self, sql: str, row: Sequence[apsw.SQLiteValue]) -> None:
        """Run a statement for this row before the transaction ends, together with others: a third of the cost of each.

        For `apply_prepared`, and for rows that nothing reads before.
        """
        rows = self._collected.get(sql)
        if rows is None:
            self._collected[sql] = [row]
        else:
            rows.append(row)

    @property
    def has_collected(self) -> bool:
        """For the framework: whether rows were collected that are not written yet."""
        return bool(self._collected)

    def write_collected(self) -> None:
        """For the framework: write what was collected, in the order of the first row of each statement."""
        if self._collected:
            for sql, rows in self._collected.items():
                self.connection.executemany(sql, rows)
            self._collected.clear()

    def touch(self, counter: str) -> int:
        """Say that rows behind `counter` change in this transaction; its new value, the same until the commit.

        Readers build ETags from counters, and find what is new by `WHERE changed > ?`.
        """
        value = self._touched.get(counter)
        if value is None:
            rows = self.execute(
                "INSERT INTO counter(name, value) VALUES (?, 1) ON CONFLICT(name) DO UPDATE SET value = value + 1"
                " RETURNING value",
                (counter,),
            ).fetchall()
            value = self._touched[counter] = cast(int, rows[0][0])
        return value

    def end_transaction(self) -> dict[str, int]:
        """For the framework: the counters that moved in the transaction that ends."""
        self._collected.clear()
        touched, self._touched = self._touched, {}
        return touched


class Projection(Protocol):
    """One read model: tables that answer a question, and how events change them."""

    @property
    def name(self) -> str:
        """Names the question it answers, such as `run_list`. Unique in its plugin."""
        ...

    @property
    def version(self) -> int:
        """Raised when schema or meaning change: the tables are then built again beside the old ones."""
        ...

    @property
    def schema(self) -> str:
        """`CREATE` statements for its tables and indexes."""
        ...

    @property
    def streams(self) -> frozenset[StreamKind]:
        """The kinds of streams that it is given."""
        ...

    def apply(self, batch: Batch, tables: Tables) -> None:
        """Change the tables by a batch. Each event is applied exactly once, in the order of its stream."""
        ...

    def forget(self, stream_id: int, tables: Tables) -> None:
        """Undo all that the stream contributed. Called before a replaced stream is read again from 0, and when one is gone."""
        ...


def kinds_of(projections: Iterable[Projection]) -> frozenset[StreamKind]:
    """The kinds of streams that at least one of these projections is given."""
    return frozenset(kind for projection in projections for kind in projection.streams)


@runtime_checkable
class KnowsActiveStreams(Protocol):
    """A projection that can tell which streams are expected to grow: those are watched instead of swept."""

    def active_streams(self, tables: Tables) -> Iterable[str]:
        """Names of streams that somebody is writing, the most recent first."""
        ...


@runtime_checkable
class WritesAtCommit(Protocol):
    """A projection that collects in `Tables.memory` what a transaction brings, and writes it once, at its end."""

    def before_commit(self, tables: Tables) -> None:
        """Write what was collected. Called before every commit, in the order of the projections."""
        ...


@runtime_checkable
class HasReadingIndexes(Protocol):
    """A projection with indexes that its own `apply` does not use: a rebuild makes them last, sorted, at once."""

    @property
    def reading_indexes(self) -> frozenset[str]:
        """Names of indexes in its schema that only queries and `forget` need."""
        ...


@runtime_checkable
class MergesLast(Protocol):
    """A projection that, where `tables.postpones_merges`, leaves its merged rows to the end of a rebuild."""

    def merge_all(self, tables: Tables) -> None:
        """Compute the merged rows of all entities. Called once, before the file is ready."""
        ...


class Preparation(Protocol):
    """What a projection makes of one stream, from its first event on, without any table: in another process."""

    def add(self, batch: Batch) -> None:
        """The next events. `batch.stream_id` means nothing."""
        ...

    def take(self, *, is_end: bool) -> object:
        """What can be written so far, and only once; all the rest if `is_end`. It is pickled. None: nothing."""
        ...


@runtime_checkable
class PreparesStreams(Protocol):
    """A projection whose work on a stream can be divided: a rebuild then uses more than one processor.

    Preparing a stream and writing what was prepared must leave the rows that `apply` would.
    """

    def preparation(self, stream: Stream) -> Preparation:
        """For a stream that nothing was applied of yet."""
        ...

    def apply_prepared(self, stream: Stream, stream_id: int, prepared: object, tables: Tables) -> None:
        """Write what `take` returned; in the order in which it did."""
        ...
