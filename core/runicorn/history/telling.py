"""From positions to entries: the events of a page are read from the log, and what they changed is worked out.

For that the facts before the page are needed: of each field the last event that set it as a whole, and behind that one those
that set parts of it. At most 500 of these are read; what was set further back is not known.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

import apsw
import msgspec

from runicorn.events.actor import Decision
from runicorn.events.envelope import Event, InvalidPayload, Payload, decode_payload
from runicorn.events.log import FileLog, Stream
from runicorn.events.past import moment_text
from runicorn.history.entries import FieldChange, HistoryEntry, Who
from runicorn.history.facts import Facts
from runicorn.history.paging import Cursor, HistoryWanted, Position, positions
from runicorn.history.positions import EventPositions

_MOST_PARTS = 500  # events that set a part of one field, such as keys of a summary
_MOST_BETWEEN = 2000  # events between the entries of a page, where a filter left them out
_MOST_BYTES = 1 << 20  # of one event; a longer one is told without what it says


P = TypeVar("P", bound=Payload)


class Told(NamedTuple):
    """What an event says."""

    origin: str
    what: str
    changes: list[FieldChange]
    who: Who | None = None


class Teller(Protocol):
    """Knows what the events about one kind of subject say."""

    defaults: ClassVar[Mapping[str, Any]]
    """The values of fields before any event; null, where one is not in here."""

    def sets(self, label: str) -> Mapping[str, bool]:
        """The fields that an event with this label may set: True, if as a whole; False, if only some of its keys."""
        ...

    def uses(self, label: str) -> Collection[str]:
        """Further fields that `tell` looks at."""
        ...

    def tell(self, event: Event, label: str, facts: Facts) -> Told | None:
        """What an event says, given the facts before it, which are changed by it. None if that cannot be understood."""
        ...


def decode_among(event: Event, types: Mapping[str, type[P]]) -> P | None:
    """What an event says, if it is of one of these types and has the shape that its type promises."""
    payload_type = types.get(event.type)
    if payload_type is None:
        return None
    try:
        return decode_payload(event, payload_type)
    except InvalidPayload:
        return None


def decider(decision: Decision) -> Who | None:
    """Who decided something; None where the event is of a version that did not record it."""
    by = decision.by
    return None if by is msgspec.UNSET else Who(user=by.user, way=by.way)


class HistoryPage(msgspec.Struct, frozen=True):
    """Entries in the order that was wanted, and where the next page begins."""

    entries: list[HistoryEntry]
    next: Cursor | None


def history_page(
    db: apsw.Connection, log: FileLog, index: EventPositions, teller: Teller, key: str, wanted: HistoryWanted
) -> HistoryPage:
    """A page of the history of the subject with this key. In a thread: it reads the log."""
    found = positions(db, index, key, wanted._replace(limit=wanted.limit + 1))
    page = found[: wanted.limit]
    if not page:
        return HistoryPage([], None)
    in_order = page[::-1] if wanted.newest_first else page
    sources = [
        _source(db, index, teller, key, in_order, labels, fields, has_gaps=bool(wanted.types))
        for labels, fields in _setters(index, teller, page).items()
    ]
    chosen = frozenset(page)
    together = sorted(chosen.union(*(source.positions for source in sources)), key=_place)
    events = _read(log, index, key, together)
    facts = Facts(teller.defaults)
    entries: list[HistoryEntry] = []
    for position in together:
        for source in sources:
            if source.begin is not None and _place(position) <= source.begin:
                facts.forget(source.fields)
        if position in events:
            entry = _entry(position, events[position], teller, facts)
            if position in chosen:
                entries.append(entry)
    last = page[-1]
    following = Cursor(wanted.newest_first, *_place(last)) if len(found) > wanted.limit else None
    return HistoryPage(entries[::-1] if wanted.newest_first else entries, following)


class _Source(NamedTuple):
    """Where it is said what was known of some fields."""

    fields: frozenset[str]
    positions: list[Position]
    begin: tuple[float, str, int] | None
    """Where looking back ended too early: up to there nothing is known of the fields."""


def _setters(index: EventPositions, teller: Teller, page: Sequence[Position]) -> dict[frozenset[str], frozenset[str]]:
    """By the labels of the events that set them, the fields that have to be known for a page."""
    labels = {position.label for position in page}
    needed = {field for label in labels for field in (*teller.sets(label), *teller.uses(label))}
    found: defaultdict[frozenset[str], set[str]] = defaultdict(set)
    for field in needed:
        found[frozenset(label for label in index.labels if field in teller.sets(label))].add(field)
    return {setters: frozenset(fields) for setters, fields in found.items()}


def _source(
    db: apsw.Connection,
    index: EventPositions,
    teller: Teller,
    key: str,
    page: Sequence[Position],
    labels: frozenset[str],
    fields: frozenset[str],
    *,
    has_gaps: bool,
) -> _Source:
    """The positions of events that set some fields: before a page, which ascends, and between its entries if it `has_gaps`."""

    def is_whole(position: Position) -> bool:
        said = teller.sets(position.label)
        return all(said.get(field, False) for field in fields)

    first = _place(page[0])
    parts = any(not teller.sets(label)[field] for label in labels for field in fields if field in teller.sets(label))
    limit = _MOST_BETWEEN if has_gaps else _MOST_PARTS if parts else 1
    after = Cursor(True, *(_place(page[-1]) if has_gaps else first))
    back = positions(db, index, key, HistoryWanted(limit, after=after), labels)
    for number, position in enumerate(back):
        if _place(position) < first and is_whole(position):
            return _Source(fields, back[: number + 1], None)
    return _Source(fields, back, _place(back[-1]) if len(back) == limit else None)


def _place(position: Position) -> tuple[float, str, int]:
    return position.at, position.stream, position.offset


def _read(log: FileLog, index: EventPositions, key: str, wanted: Sequence[Position]) -> dict[Position, Event | None]:
    """The events at these positions, without those about something else; None for one that cannot be read."""
    by_stream: defaultdict[str, list[Position]] = defaultdict(list)
    for position in wanted:
        by_stream[position.stream].append(position)
    found: dict[Position, Event | None] = {}
    for name, of_stream in by_stream.items():
        stream = Stream.named(name)
        found |= dict.fromkeys(of_stream)
        with contextlib.suppress(OSError):  # it is gone; the read model will know in a moment
            lines = log.read_lines(stream, (position.offset for position in of_stream), limit=_MOST_BYTES)
            for position, event in zip(of_stream, lines, strict=True):
                if event is None or not index.is_of(event, position.label):
                    continue  # too long; or the stream was replaced just now
                if stream.kind == "store" and not index.is_about(event, key):
                    del found[position]
                else:
                    found[position] = event
    return found


def _entry(position: Position, event: Event | None, teller: Teller, facts: Facts) -> HistoryEntry:
    if event is None:
        facts.forget(teller.sets(position.label))
        event = Event(position.at, position.label.partition(":")[0])
        told = Told("other", f"{event.type}, which cannot be read", [])
    else:
        told = teller.tell(event, position.label, facts) or Told("other", event.type, [])
    ts = event.ts if event.ts == event.ts else None
    return HistoryEntry(
        ts,
        None if ts is None else moment_text(ts),
        position.stream,
        position.offset,
        event.type,
        told.origin,
        told.who,
        told.what,
        told.changes,
    )
