"""Which events are about a subject (a run, an artifact), and where they are: positions, not what the events say.

| table          | kind  | content                                                                              |
|----------------|-------|--------------------------------------------------------------------------------------|
| `<name>_own`   | owned | one row per event of the subject's own stream, those that come in masses left out    |
| `<name>_store` | owned | one row per event of the store stream, under a hash of the key that the event names  |

A row takes about 25 bytes. `at` orders a history: in a stream of its own the time of the event, but never before that of an
earlier line; in the store stream, where facts of long ago are observed, the time of the event. `label` is the type of the
event, with what its `file` adds for some; a number where it is one of `labels`. Two keys may have one hash: whoever reads an
event compares the key.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, cast

from runicorn.events.envelope import Event, InvalidPayload, Payload, decode_payload
from runicorn.events.log import Stream, StreamKind
from runicorn.fields import without_surrogates
from runicorn.projection.base import Batch, Tables

Row = tuple[Any, ...]

_NO_TIME = 0.0
_MOST_CHARACTERS = 128  # of the type of an event that no plugin has announced


class EventPositions:
    """See the module's docstring."""

    def __init__(
        self,
        name: str,
        *,
        version: int,
        kind: StreamKind,
        subject: str,
        labels: Sequence[str],
        own: frozenset[str],
        masses: frozenset[str] = frozenset(),
    ) -> None:
        """Of streams of one `kind`. Events of the store stream name their subject, by its key, in the field `subject`.

        `labels` are stored as their places in the sequence: append to it only, or raise the version. Of their types, those in
        `own` count in the subject's own stream, and the others in the store stream; other types count in both. Events of
        the types `masses` have no position.
        """
        self.name = name
        self.version = version
        self.streams = frozenset[StreamKind]({kind, "store"})
        self.labels = tuple(labels)
        self._subject = subject
        self._own = own
        self._not_own = masses.union(("", *(label.partition(":")[0] for label in labels))) - own
        self._codes: Mapping[str, int] = {label: code for code, label in enumerate(self.labels)}
        self._put_own = f"INSERT INTO {name}_own(stream_id, at, offset, label) VALUES (?, ?, ?, ?)"
        self._put_store = f"INSERT INTO {name}_store(stream_id, subject, at, offset, label) VALUES (?, ?, ?, ?, ?)"

    @property
    def schema(self) -> str:
        """The two tables."""
        return f"""
            CREATE TABLE {self.name}_own(
                stream_id INTEGER NOT NULL, at REAL NOT NULL, offset INTEGER NOT NULL, label NOT NULL,
                PRIMARY KEY(stream_id, at, offset)) WITHOUT ROWID;
            CREATE TABLE {self.name}_store(
                subject INTEGER NOT NULL, at REAL NOT NULL, stream_id INTEGER NOT NULL, offset INTEGER NOT NULL,
                label NOT NULL, PRIMARY KEY(subject, at, stream_id, offset)) WITHOUT ROWID;
        """

    def apply(self, batch: Batch, tables: Tables) -> None:
        """Add the positions of a batch."""
        if batch.stream.kind == "store":
            self._insert(self._put_store, batch.stream_id, self._store_rows(batch), tables)
        elif not batch.types <= self._not_own:  # most batches hold metrics alone
            last = _last_time(self.name, batch.stream_id, tables) if batch.start else _NO_TIME
            self._insert(self._put_own, batch.stream_id, self._own_rows(batch, last), tables)

    def preparation(self, stream: Stream) -> PositionsPreparation:
        """See `runicorn.plugin.PreparesStreams`."""
        return PositionsPreparation(self)

    def apply_prepared(self, stream: Stream, stream_id: int, prepared: object, tables: Tables) -> None:
        """Add the positions that were found."""
        sql = self._put_store if stream.kind == "store" else self._put_own
        for row in cast("list[Row]", prepared):
            tables.collect(sql, (stream_id, *row))

    def forget(self, stream_id: int, tables: Tables) -> None:
        """Delete the positions in a stream."""
        tables.execute(f"DELETE FROM {self.name}_own WHERE stream_id = ?", (stream_id,))
        names = tables.execute("SELECT name FROM stream WHERE id = ?", (stream_id,)).fetchall()
        if not names or Stream.named(str(names[0][0])).kind == "store":  # a segment that goes is rare: no index for it
            tables.execute(f"DELETE FROM {self.name}_store WHERE stream_id = ?", (stream_id,))

    def rows_of(self, batch: Batch, last: float) -> list[Row]:
        """Rows behind `stream_id`; `last` is the greatest time in a stream of its own so far."""
        if batch.stream.kind == "store":
            return self._store_rows(batch)
        return [] if batch.types <= self._not_own else self._own_rows(batch, last)

    def _own_rows(self, batch: Batch, last: float) -> list[Row]:
        """(at, offset, label) of the events of a subject's own stream."""
        passed_over, codes = self._not_own, self._codes
        found = sorted(place for type in batch.places.keys() - passed_over for place in batch.places[type])
        rows: list[Row] = []
        for offset, place in zip(batch.offsets_of(found), found, strict=True):
            event = batch.events[place]
            if event.ts > last:
                last = event.ts
            code = codes.get(event.type)
            rows.append((last, offset, _stored(event.type) if code is None else code))
        return rows

    def _store_rows(self, batch: Batch) -> list[Row]:
        """(subject, at, offset, label) of events of the store stream."""
        rows: list[Row] = []
        for event, offset in zip(batch.events, batch.offsets, strict=True):
            key, file = self._said(event)
            if key is not None and event.type and event.type not in self._own:
                at = event.ts if math.isfinite(event.ts) else _NO_TIME
                rows.append((hash_of(key), at, offset, self.code(self.label(event.type, file))))
        return rows

    def label(self, type: str, file: str | None) -> str:
        """The label of an event."""
        with_file = f"{type}:{file}"
        return with_file if file is not None and with_file in self._codes else type

    def code(self, label: str) -> int | str:
        """As the tables have a label."""
        code = self._codes.get(label)
        return _stored(label) if code is None else code

    def codes_of(self, types: Iterable[str]) -> list[int | str]:
        """As the tables have all labels of these types."""
        wanted = frozenset(types)
        known = [code for label, code in self._codes.items() if label.partition(":")[0] in wanted]
        return [*known, *sorted({_stored(name) for name in wanted if name not in self._codes})]

    def decoded(self, code: int | str) -> str:
        """The label that the tables have as `code`."""
        return code if isinstance(code, str) else self.labels[code]

    def is_of(self, event: Event, label: str) -> bool:
        """Whether an event has this label, maybe without what its file adds."""
        kind = _stored(event.type)
        return label == kind or label.startswith(f"{kind}:")

    def is_about(self, event: Event, key: str) -> bool:
        """Whether an event of the store stream is about the subject with this key."""
        return self._said(event)[0] == key

    def _said(self, event: Event) -> tuple[str | None, str | None]:
        """The key of the subject and the file that an event names."""
        try:
            said = decode_payload(event, _Mention)
        except InvalidPayload:
            return None, None
        key = getattr(said, self._subject)
        return key if isinstance(key, str) else None, said.file if isinstance(said.file, str) else None

    def _insert(self, sql: str, stream_id: int, rows: list[Row], tables: Tables) -> None:
        if rows:
            tables.executemany(sql, ((stream_id, *row) for row in rows))


class PositionsPreparation:
    """The positions in one stream, found away from the tables."""

    def __init__(self, index: EventPositions) -> None:
        self._index = index
        self._last = _NO_TIME
        self._found: list[Row] = []

    def add(self, batch: Batch) -> None:
        """Find the positions of the next events."""
        rows = self._index.rows_of(batch, self._last)
        if rows and batch.stream.kind != "store":
            self._last = cast(float, rows[-1][0])
        self._found += rows

    def take(self, *, is_end: bool) -> list[Row] | None:
        """Those that were found since; None if there are none."""
        found, self._found = self._found, []
        return found or None


class _Mention(Payload, frozen=True, kw_only=True):
    """The fields of events of the store stream that say what they are about."""

    event_type: ClassVar[str] = ""
    run: Any = None
    artifact: Any = None
    file: Any = None


def _stored(label: str) -> str:
    """A label that has no number, as SQLite accepts it; whatever is in a file, it does not grow beyond all measure."""
    return without_surrogates(label[:_MOST_CHARACTERS])


def hash_of(key: str) -> int:
    """As the tables have the key of a subject."""
    digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def _last_time(name: str, stream_id: int, tables: Tables) -> float:
    rows = tables.execute(f"SELECT max(at) FROM {name}_own WHERE stream_id = ?", (stream_id,)).fetchall()
    return _NO_TIME if rows[0][0] is None else cast(float, rows[0][0])
