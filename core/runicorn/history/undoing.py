"""Which command on a subject can be taken back, and what stands against it.

The events of one command are one append: they have one time and are in one stream. Taking a command back is a command, too:
its events say what was before, and it can be taken back itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice

import msgspec

from runicorn.errors import BadInput, NotFound, shown
from runicorn.history.entries import FieldChange, HistoryEntry, presentable_value
from runicorn.history.facts import same
from runicorn.history.paging import HistoryWanted
from runicorn.history.subject import NotReversible, Subject

_AT_ONCE = 200
_MOST_COMMANDS = 1000


class Command(msgspec.Struct, frozen=True):
    """A command that was carried out on a subject."""

    entries: list[HistoryEntry]
    """Its events, in order."""
    why_not: str | None
    """What stands against taking it back."""

    @property
    def stream(self) -> str:
        """Where its events are."""
        return self.entries[0].stream

    @property
    def offset(self) -> int:
        """That of its first event."""
        return self.entries[0].offset

    @property
    def what(self) -> str:
        """What it did, in words."""
        return "; ".join(entry.what for entry in self.entries)

    @property
    def changes(self) -> list[FieldChange]:
        """What it changed."""
        return [change for entry in self.entries for change in entry.changes]


def commands(subject: Subject) -> Iterator[Command]:
    """The commands on a subject that changed something, the newest first."""
    later: dict[str, tuple[FieldChange, HistoryEntry]] = {}
    decided = subject.reversible | subject.irreversible.keys()
    for entries in _appends(subject):
        if entries[0].type in decided and any(entry.changes for entry in entries):
            yield Command(entries, _why_not(subject, entries, later))
        for entry in reversed(entries):
            for change in entry.changes:
                later.setdefault(change.field, (change, entry))


def choose(subject: Subject, place: str | None) -> Command:
    """The last command on a subject that changed something, or the one with an event at `OFFSET` or `STREAM@OFFSET`.

    NotFound if there is none; BadInput for a place that is none, or more than one.
    """
    if place is None:
        for command in commands(subject):
            return command
        raise NotFound(f"No command has changed the {subject.title}: there is nothing to take back.")
    stream, _, offset = place.rpartition("@")
    if not offset.isdecimal():
        raise BadInput(f"{shown(place)} is no place of an event: give OFFSET or STREAM@OFFSET, as --list shows them")
    found = [
        command
        for command in islice(commands(subject), _MOST_COMMANDS)
        if any(entry.offset == int(offset) and stream in ("", entry.stream) for entry in command.entries)
    ]
    if not found:
        raise NotFound(f"No command on the {subject.title} is at {shown(place)}. --list shows where they are.")
    if len(found) > 1:
        places = ", ".join(f"{command.stream}@{command.offset}" for command in found)
        raise BadInput(f"{shown(place)} is a place in several streams; give one of {places}")
    return found[0]


def check(command: Command) -> None:
    """NotReversible if something stands against taking a command back."""
    if command.why_not is not None:
        raise NotReversible(command.why_not)


def _why_not(
    subject: Subject, entries: list[HistoryEntry], later: dict[str, tuple[FieldChange, HistoryEntry]]
) -> str | None:
    for entry in entries:
        if entry.type not in subject.reversible:
            return f"{entry.what}: {subject.irreversible.get(entry.type, 'this cannot be taken back')}"
    for entry in entries:
        for change in entry.changes:
            if not change.is_before_known:
                return f"What {change.field} was before is too far back in the history to be known"
            if change.field in later:
                now, by = later[change.field]
                if not same(now.after, change.after):
                    value = json.dumps(presentable_value(now.after), ensure_ascii=False)
                    return (
                        f"{change.field} was changed again, to {value}: {by.what} ({by.time}, {by.stream}@{by.offset})"
                    )
    return None


def _appends(subject: Subject) -> Iterator[list[HistoryEntry]]:
    """Events that were appended together, each in order; the newest first."""
    types = subject.reversible | subject.irreversible.keys() | subject.observed
    wanted = HistoryWanted(_AT_ONCE, types=types)
    together: list[HistoryEntry] = []
    while True:
        page = subject.page(wanted)
        for entry in page.entries:
            if together and (entry.stream, entry.ts) != (together[0].stream, together[0].ts):
                yield together[::-1]
                together = []
            together.append(entry)
        if page.next is None:
            break
        wanted = wanted._replace(after=page.next)
    if together:
        yield together[::-1]
