"""Changing an artifact: under its lock, from a fresh look at its folder, with its events and its index at the end.

Whoever changes it says what shall become of it; that is carried out at the end, as a whole or not at all:

1. All files that are to be replaced are written under other names: after that no room is needed for them.
2. A folder is moved into place (or away), which makes a version exist (or go).
3. The events are appended.
4. The files take their names, those that readers of 0.4.0 find versions by last.

Where one of the first three fails, nothing has happened. Behind them a version is there (or gone) for good, and an index
that cannot be replaced is made up for by the next change; without such a folder the files are put back, and whoever asked
is told. Whoever is killed in between leaves a store that says the same to all readers once it was observed, or changed
again.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
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
    write_temporary,
)
from runicorn_artifacts.errors import ArtifactLocked
from runicorn_artifacts.events import (
    NO_UPDATES,
    ArtifactAliased,
    ArtifactDecision,
    ArtifactPayload,
    VersionCreated,
)
from runicorn_artifacts.folder import INDEX_FILE, LOCK_FILE, ArtifactFolder

logger = logging.getLogger("runicorn.artifacts")

LOCK_S = 30.0


class Change:
    """One change in the making; whoever has it holds the artifact's lock. Nothing of it is on disk before it is complete."""

    def __init__(self, folder: ArtifactFolder, *, only_adds: bool = False) -> None:
        self.folder = folder
        self.index = folder.listed_index if only_adds else folder.index
        """To be changed; it is written where anything has happened."""
        self.ts = time.time()
        """When the change happens, in Unix seconds."""
        self.undo = contextlib.ExitStack()
        """What is to be done if the change fails, or is not made."""
        self._events: list[ArtifactPayload | ArtifactDecision] = []
        self._files: list[tuple[Path, bytes | None]] = []
        self._move: tuple[Path, Path, Exception | None] | None = None

    def tell(self, *events: ArtifactPayload | ArtifactDecision) -> None:
        """Say what happens, in order. Without any event nothing does."""
        self._events += events

    def write(self, path: Path, content: bytes | None) -> None:
        """Let a file have this content; None removes it. Files are replaced in the order in which they are given."""
        self._files.append((path, content))

    def move(self, source: Path, target: Path, *, refusal: Exception | None = None) -> None:
        """Move the folder that makes a version exist, or go. If that is not possible, `refusal` is raised, if given."""
        self._move = source, target, refusal

    def alias(self, alias: str, version: int | None) -> None:
        """Let an alias point to another version, or (None) to none; nothing happens where it does already."""
        if self.index.aliases.get(alias) == version:
            return
        if version is None:
            del self.index.aliases[alias]
        else:
            self.index.aliases[alias] = version
        self.tell(ArtifactAliased(type=self.folder.type, name=self.folder.name, alias=alias, version=version))

    def next_version(self) -> int:
        """The number that the next version gets: higher than any that was ever used."""
        stored = self.folder.stored_index
        told = created_versions(self.folder.path)
        if stored is not None and stored.next_version is not None and not self.folder.unindexed:
            # Every save has noted its number in this index, and the numbers of the stream ascend.
            told = itertools.islice(created_versions(self.folder.path, newest_first=True), 1)
        return max([self.index.highest, *told]) + 1

    def carry_out(self) -> None:
        """Make the change. OSError as it comes, or the refusal of a move: see the module."""
        if not self._events:
            return
        if not all(isinstance(event, NO_UPDATES) for event in self._events):
            self.index.updated_at = self.ts
        self.index.settle()
        index_path = self.folder.path / INDEX_FILE
        with contextlib.ExitStack() as leftovers:
            files = [(path, _prepared(path, content, leftovers)) for path, content in self._files]
            index = _prepared(index_path, self.index.to_bytes(), leftovers)
            with contextlib.ExitStack() as undo:
                if self._move is not None:
                    _rename(*self._move, undo)
                append_artifact_events(self.folder.path, *self._untold(), *self._events, ts=self.ts)
                undo.pop_all()
            try:
                with contextlib.ExitStack() as undo:
                    for path, prepared in files:
                        _replace(path, prepared, undo)
                    os.replace(index, index_path)
                    undo.pop_all()
            except OSError as error:
                if self._move is None:
                    raise
                logger.warning("the index of %s is written with its next change: %s", self.folder.name, error.strerror)

    def _untold(self) -> Iterator[VersionCreated]:
        """Versions that were left by a process that was killed between their folder and their event."""
        unindexed = self.folder.unindexed
        known = set(created_versions(self.folder.path)) if unindexed else set[int]()
        for version in unindexed:
            record = self.folder.record(version)
            if version not in known and record is not None:
                yield VersionCreated(type=self.folder.type, name=self.folder.name, version=version, record=record)


@contextlib.contextmanager
def changing(folder: ArtifactFolder, *, only_adds: bool = False, timeout_s: float = LOCK_S) -> Generator[Change]:
    """Hold the lock of an artifact, whose folder exists, and carry the change out when the context is left.

    An exception in the context means that nothing happens. ArtifactLocked if somebody else has the lock for too long;
    errors of `Change.carry_out`. Who `only_adds` a version leaves the others as the index has them: see
    `ArtifactFolder.listed_index`.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(file_lock(folder.path / LOCK_FILE, timeout_s=timeout_s))
        except LockTimeout as error:
            raise ArtifactLocked(folder.name, timeout_s) from error
        change = Change(ArtifactFolder(folder.path, folder.type, folder.name), only_adds=only_adds)
        with change.undo:
            yield change
            change.carry_out()
            change.undo.pop_all()


def created_versions(path: Path, *, newest_first: bool = False) -> Iterator[int]:
    """Numbers of all versions that the stream of an artifact tells of, also of those that are gone."""
    for event in read_artifact_events(path, VersionCreated.event_type, newest_first=newest_first):
        with contextlib.suppress(InvalidPayload):
            yield decode_payload(event, _Numbered).version


class _Numbered(Payload, frozen=True, kw_only=True):
    """The one field of `VersionCreated` that is asked for here, and the only one that is decoded."""

    event_type: ClassVar[str] = VersionCreated.event_type
    version: int


def _prepared(path: Path, content: bytes | None, leftovers: contextlib.ExitStack) -> str:
    """Write what shall become `path` beside it; where that is. Empty if the file is to be removed."""
    if content is None:
        return ""
    temporary = write_temporary(path, content)
    leftovers.callback(_unlink, temporary)
    return temporary


def _rename(source: Path, target: Path, refusal: Exception | None, undo: contextlib.ExitStack) -> None:
    try:
        os.rename(source, target)
    except OSError as error:
        if refusal is None:
            raise
        raise refusal from error
    undo.callback(os.rename, target, source)


def _replace(path: Path, prepared: str, undo: contextlib.ExitStack) -> None:
    before = path.read_bytes() if path.exists() else None
    if prepared:
        os.replace(prepared, path)
    else:
        path.unlink(missing_ok=True)
    undo.callback(_put_back, path, before)


def _put_back(path: Path, content: bytes | None) -> None:
    if content is None:
        _unlink(path)
        return
    with contextlib.suppress(OSError):  # what made the change fail is what is told
        replace_file(path, content)


def _unlink(path: Path | str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
