"""Artifacts as `runicorn history` and `runicorn events undo` find them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from runicorn.plugin import FieldChange, HistoryPage, HistoryWanted, OpenedStore, Stream, history_page
from runicorn_artifacts.errors import ArtifactNotFound
from runicorn_artifacts.events import (
    OBSERVED_EVENTS,
    ArtifactAliased,
    VersionCreated,
    VersionDeleted,
    VersionPromoted,
    VersionPurged,
    VersionRestored,
)
from runicorn_artifacts.folder import ArtifactFolder
from runicorn_artifacts.history.labels import ARTIFACT_HISTORY
from runicorn_artifacts.history.telling import ArtifactTeller
from runicorn_artifacts.history.undoing import take_back
from runicorn_artifacts.lookup import ARTIFACTS, Lookup
from runicorn_artifacts.naming import type_of_folder

_PLUGIN = "artifacts"


class Artifacts:
    """See `runicorn.plugin.Subjects`."""

    def find(self, store: OpenedStore, text: str) -> ArtifactSubject | None:
        """The artifact that `NAME`, `TYPE/NAME` or a path below the root means."""
        *folders, name = text.removesuffix("/").split("/")
        if len(folders) > 2 or (len(folders) == 2 and folders[0] != ARTIFACTS):
            return None
        type = type_of_folder(folders[-1]) if folders and folders[-1] != ARTIFACTS else None
        try:
            return ArtifactSubject(store, Lookup(store.root).find(name, type))
        except ArtifactNotFound:
            return None


class ArtifactSubject:
    """See `runicorn.plugin.Subject`."""

    reversible: frozenset[str] = frozenset(
        event.event_type for event in (ArtifactAliased, VersionDeleted, VersionRestored, VersionPromoted)
    )
    irreversible: Mapping[str, str] = {
        VersionCreated.event_type: "a version stays as it was saved; it can be deleted",
        VersionPurged.event_type: "what is removed for good cannot be brought back",
    }
    observed: frozenset[str] = frozenset(event.event_type for event in OBSERVED_EVENTS)

    def __init__(self, store: OpenedStore, folder: ArtifactFolder) -> None:
        self._store = store
        self._folder = folder
        self._key = folder.path.relative_to(store.root).as_posix()
        self.title = f"artifact {folder.type}/{folder.name}"
        store.until_visible(Stream("artifact", self._key))

    def page(self, wanted: HistoryWanted) -> HistoryPage:
        """A page of its history."""
        model = self._store.model(_PLUGIN)
        return model.query(history_page, self._store.log, ARTIFACT_HISTORY, ArtifactTeller(), self._key, wanted)

    def take_back(self, changes: Sequence[FieldChange], note: str) -> list[Stream]:
        """Take a command back."""
        take_back(self._folder, changes, note)
        return [Stream("artifact", self._key)]
