"""Changing an artifact: under its lock, from a fresh look at its folder, with its events and its index at the end.

A folder that is moved into place (or away) is what makes a version exist (or go): that comes first. Then the events are
appended, then the files for readers of 0.4.0 are replaced. Whoever is killed in between leaves a store that says the
same to all readers once it was observed, or changed again.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import ClassVar

from runicorn.plugin import (
    InvalidPayload,
    LockTimeout,
    Payload,
    append_artifact_events,
    decode_payload,
    file_lock,
    read_artifact_events,
    replace_file,
)
from runicorn_artifacts.errors import ArtifactLocked
from runicorn_artifacts.events import ArtifactAliased, ArtifactDecision, ArtifactPayload, VersionCreated
from runicorn_artifacts.folder import INDEX_FILE, LOCK_FILE, ArtifactFolder

LOCK_S = 30.0


class Change:
    """One change in the making; whoever has it holds the artifact's lock."""

    def __init__(self, folder: ArtifactFolder, *, only_adds: bool = False) -> None:
        self.folder = folder
        self.index = folder.listed_index if only_adds else folder.index
        """To be changed, and then saved by `commit`."""
        self.ts = time.time()
        """When the change happens, in Unix seconds."""
        self._adopt()

    def append(self, *events: ArtifactPayload | ArtifactDecision) -> None:
        """Record events. OSError if that is not possible."""
        if events:
            append_artifact_events(self.folder.path, *events, ts=self.ts)

    def alias(self, alias: str, version: int | None) -> list[ArtifactAliased]:
        """Let an alias point to another version, or (None) to none; the event that says so, if that is new."""
        if self.index.aliases.get(alias) == version:
            return []
        if version is None:
            del self.index.aliases[alias]
        else:
            self.index.aliases[alias] = version
        return [ArtifactAliased(type=self.folder.type, name=self.folder.name, alias=alias, version=version)]

    def commit(self, *, updated: bool = True) -> None:
        """Write the index, which says when the artifact was changed unless that does not count as a change of it."""
        if updated:
            self.index.updated_at = self.ts
        self.index.settle()
        replace_file(self.folder.path / INDEX_FILE, self.index.to_bytes())

    def next_version(self) -> int:
        """The number that the next version gets: higher than any that was ever used."""
        stored = self.folder.stored_index
        told = created_versions(self.folder.path)
        if stored is not None and stored.next_version is not None and not self.folder.unindexed:
            # Every save has noted its number in this index, and the numbers of the stream ascend.
            told = itertools.islice(created_versions(self.folder.path, newest_first=True), 1)
        return max([self.index.highest, *told]) + 1

    def _adopt(self) -> None:
        """Take in what was left by a process that was killed between its version and its event."""
        if not self.folder.unindexed:
            return
        known = set(created_versions(self.folder.path))
        for version in self.folder.unindexed:
            record = self.folder.record(version)
            if version not in known and record is not None:
                type, name = self.folder.type, self.folder.name
                self.append(VersionCreated(type=type, name=name, version=version, record=record))


@contextlib.contextmanager
def changing(folder: ArtifactFolder, *, only_adds: bool = False, timeout_s: float = LOCK_S) -> Generator[Change]:
    """Hold the lock of an artifact, whose folder exists. ArtifactLocked if somebody else has it for too long.

    Who `only_adds` a version leaves the others as the index has them: see `ArtifactFolder.listed_index`.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(file_lock(folder.path / LOCK_FILE, timeout_s=timeout_s))
        except LockTimeout as error:
            raise ArtifactLocked(folder.name, timeout_s) from error
        yield Change(ArtifactFolder(folder.path, folder.type, folder.name), only_adds=only_adds)


def created_versions(path: Path, *, newest_first: bool = False) -> Iterator[int]:
    """Numbers of all versions that the stream of an artifact tells of, also of those that are gone."""
    for event in read_artifact_events(path, VersionCreated.event_type, newest_first=newest_first):
        with contextlib.suppress(InvalidPayload):
            yield decode_payload(event, _Numbered).version


class _Numbered(Payload, frozen=True, kw_only=True):
    """The one field of `VersionCreated` that is asked for here, and the only one that is decoded."""

    event_type: ClassVar[str] = VersionCreated.event_type
    version: int
