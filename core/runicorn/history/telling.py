"""From positions to entries: the events of a page are read from the log, and what they changed is worked out.

For that the facts before the page are needed: of each field, the event before it that set it. These are looked for among the
2000 positions before the page; what was set further back is not known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import apsw
import msgspec

from runicorn.events.envelope import Event
from runicorn.events.log import FileLog, Stream
from runicorn.events.past import moment_text
from runicorn.history.entries import FieldChange, HistoryEntry, Who
from runicorn.history.facts import Facts
from runicorn.history.paging import Cursor, HistoryWanted, Position, positions
from runicorn.history.positions import EventPositions

_LOOKED_BACK = 2000
_MOST_PARTS = 1000  # events that set a part of one field, such as keys of a summary
_MOST_BYTES = 1 << 20  # of one event; a longer one is told without what it says


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
    earlier = _earlier(db, index, teller, key, page[::-1] if wanted.newest_first else page)
    events = _read(log, index, key, [*earlier.positions, *page])
    facts, chosen = Facts(teller.defaults, earlier.unknown), frozenset(page)
    entries: list[HistoryEntry] = []
    for position in sorted({*earlier.positions, *page}, key=_place):
        is_known = earlier.begin is None or _place(position) >= earlier.begin
        before = facts if is_known else Facts(teller.defaults, teller.sets(position.label))
        entry = _entry(position, events.get(position), teller, before)
        if entry is not None and position in chosen:
            entries.append(entry)
    last = page[-1]
    following = Cursor(wanted.newest_first, *_place(last)) if len(found) > wanted.limit else None
    return HistoryPage(entries[::-1] if wanted.newest_first else entries, following)


class _Earlier(NamedTuple):
    positions: list[Position]
    """What says what was known before the entries of a page, and between them."""
    unknown: set[str]
    """Fields that were set further back than was looked."""
    begin: tuple[float, str, int] | None
    """Where looking back ended, if entries of the page are before it: of those nothing is known."""


def _earlier(
    db: apsw.Connection, index: EventPositions, teller: Teller, key: str, page: Sequence[Position]
) -> _Earlier:
    """What has to be read for a page, which ascends; with a filter, events between its entries count, too."""
    labels = {position.label for position in page}
    needed = {field for label in labels for field in (*teller.sets(label), *teller.uses(label))}
    types = {label.partition(":")[0] for label in index.labels if not needed.isdisjoint(teller.sets(label))}
    if not types:
        return _Earlier([], set(), None)
    back = positions(
        db, index, key, HistoryWanted(_LOOKED_BACK, types=frozenset(types), after=Cursor(True, *_place(page[-1])))
    )
    first = _place(page[0])
    parts: defaultdict[str, int] = defaultdict(int)
    unknown: set[str] = set()
    chosen: list[Position] = []
    for position in back:
        said = {field: whole for field, whole in teller.sets(position.label).items() if field in needed}
        if not said:
            continue
        chosen.append(position)
        if _place(position) >= first:
            continue
        for field, is_whole in said.items():
            parts[field] += 1
            if is_whole or parts[field] >= _MOST_PARTS:
                needed.discard(field)
                unknown |= set() if is_whole else {field}
        if not needed:
            break
    if len(back) < _LOOKED_BACK:
        return _Earlier(chosen, unknown, None)
    return _Earlier(chosen, unknown | needed, _place(back[-1]))


def _place(position: Position) -> tuple[float, str, int]:
    return position.at, position.stream, position.offset


def _read(log: FileLog, index: EventPositions, key: str, wanted: Sequence[Position]) -> dict[Position, Event]:
    """The events at these positions, without those that are no longer there or are about something else."""
    by_stream: defaultdict[str, list[Position]] = defaultdict(list)
    for position in sorted(set(wanted), key=lambda it: (it.stream, it.offset)):
        by_stream[position.stream].append(position)
    found: dict[Position, Event] = {}
    for name, of_stream in by_stream.items():
        stream = Stream.named(name)
        try:
            lines = log.read_lines(stream, (position.offset for position in of_stream), limit=_MOST_BYTES)
            for position, event in zip(of_stream, lines, strict=True):
                if event is None or not index.is_of(event, position.label):
                    continue  # the stream was replaced; the read model will know in a moment
                if stream.kind != "store" or index.is_about(event, key):
                    found[position] = event
        except OSError:  # it is gone; the read model will know in a moment
            continue
    return found


def _entry(position: Position, event: Event | None, teller: Teller, facts: Facts) -> HistoryEntry | None:
    if event is None:
        return None
    told = teller.tell(event, position.label, facts)
    if told is None:
        told = Told("other", event.type, [])
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
