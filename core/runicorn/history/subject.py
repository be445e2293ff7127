"""What a plugin contributes for one kind of subject: `runicorn history` and `runicorn events undo` work on all kinds alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from runicorn.errors import Conflict, NotFound, shown
from runicorn.history.entries import FieldChange
from runicorn.history.paging import HistoryWanted
from runicorn.history.telling import HistoryPage
from runicorn.patience import BUILT_IN

if TYPE_CHECKING:
    from runicorn.cli.opened_store import OpenedStore
    from runicorn.events.log import Stream
    from runicorn.host import Plugin


class NotReversible(Conflict):
    """A command cannot be taken back: nothing is left, nobody knows how it was before, or it was changed again."""


class ChangedSince(NotReversible):
    """What a command changed is no longer as the command left it."""

    def __init__(self, field: str) -> None:
        super().__init__(f"{field} is no longer as the command left it. `runicorn history` shows who changed it.")


class Subject(Protocol):
    """A run or an artifact of an opened store."""

    @property
    def title(self) -> str:
        """Its kind and its key, such as `run demo/a/runs/20250114_153045_a1b2c3`."""
        ...

    @property
    def reversible(self) -> frozenset[str]:
        """The types of events by which commands change it that can be taken back."""
        ...

    @property
    def irreversible(self) -> Mapping[str, str]:
        """The types of events of other commands, each with what stands against taking it back."""
        ...

    @property
    def observed(self) -> frozenset[str]:
        """The types of events by which others change it."""
        ...

    def page(self, wanted: HistoryWanted) -> HistoryPage:
        """A page of its history."""
        ...

    def take_back(self, changes: Sequence[FieldChange], note: str) -> list[Stream]:
        """Set each field to what it was `before`, as a command does it; the streams in which that is recorded.

        ChangedSince if a field is not as it was `after` (any more), or another error that users see: then nothing has changed.
        `note` says why, where a command has a place for that.
        """
        ...


class Subjects(Protocol):
    """One kind of subject."""

    def find(self, store: OpenedStore, text: str) -> Subject | None:
        """What people mean by a text; None if nothing of this kind. NotFound if it may be several."""
        ...


class NoSuchSubject(NotFound):
    """Neither a run nor an artifact is meant by a text."""

    def __init__(self, text: str) -> None:
        super().__init__(
            f"Neither a run nor an artifact is {shown(text)}. `runicorn runs` and `runicorn artifacts --action list` show them."
        )


class SubjectAmbiguous(NotFound):
    """A text means a run and an artifact."""

    def __init__(self, text: str, titles: Sequence[str]) -> None:
        listed = "\n  ".join(titles)
        super().__init__(f"{shown(text)} may be any of these; give the path:\n  {listed}")


def find_subject(store: OpenedStore, text: str) -> Subject:
    """The subject that people mean by a text, whichever plugin has it. NotFound if not exactly one is."""
    asked = [
        _ask(plugin, kind, store, text)
        for plugin, contributed in store.host.collect("subjects")
        for kind in contributed
    ]
    found = [subject for subject in asked if subject is not None]
    if not found:
        raise NoSuchSubject(text)
    if len(found) > 1:
        raise SubjectAmbiguous(text, [subject.title for subject in found])
    return found[0]


def _ask(plugin: Plugin, kind: Subjects, store: OpenedStore, text: str) -> Subject | None:
    """What one kind finds. A plugin of strangers that raises, or does not return, is disabled and finds nothing."""
    if plugin.name in BUILT_IN:
        return kind.find(store, text)
    found: Subject | NotFound | None = None
    with store.host.disabled_if_it_fails(plugin, "subjects"), store.host.patience.call(plugin.name, "subjects"):
        try:
            found = kind.find(store, text)
        except NotFound as error:  # the text may mean several things
            found = error
    if isinstance(found, NotFound):
        raise found
    return found
