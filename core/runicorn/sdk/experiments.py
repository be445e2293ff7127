"""Organizing runs: tags, descriptions, pins, search, clean-up. Works on the storage root alone, without a server.

Every run below the root is known: without an entry in the metadata file it has the values of its own files, and the
entry is made by the first change. Entries may also exist for runs whose directory is not there (yet, or any more).
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from runicorn.config import state_directory
from runicorn.errors import RunicornError
from runicorn.events.log import FileLog
from runicorn.events.store import StoreStream
from runicorn.experiment_file import ExperimentFile, ExperimentMetadata, appended_tags, checked_tags
from runicorn.run_commands.annotating import Change, annotate, entry_of
from runicorn.run_commands.purging import forget_entries, purge
from runicorn.run_commands.recycling import RunPlace, put_into_bin
from runicorn.run_files import RUNNING
from runicorn.sdk.stored_runs import StoredRun, stored_runs

logger = logging.getLogger("runicorn")

__all__ = ["ExperimentManager", "ExperimentMetadata"]

_DAY_S = 86400.0


class ExperimentManager:
    """Organizes the runs below `storage_root`. Safe for several threads and processes.

    Changes are visible to every other manager and server at once. Runs in the recycle bin are unknown, except to
    `delete_experiments`. StorageUnavailable if a change cannot be recorded.
    """

    def __init__(self, storage_root: str | os.PathLike[str]) -> None:
        self.storage_root = Path(os.path.abspath(os.path.expanduser(storage_root)))
        self._file = ExperimentFile(self.storage_root)
        self._log = StoreStream(FileLog(self.storage_root, state_directory(self.storage_root)))

    def add_experiment(
        self, run_id: str, project: str, name: str, tags: Iterable[str] | None = None, description: str | None = None
    ) -> ExperimentMetadata:
        """Make or replace the entry of a run, whether or not its directory exists; pin and archive state stay."""
        if not run_id:
            raise ValueError("run_id is required")
        given = {"project": project, "name": name, "tags": checked_tags(tags or ()), "description": description}
        run = self._runs_by_id([run_id]).get(run_id)
        known = ExperimentMetadata(run_id, project, name, updated_at=0.0) if run is None else _of(run)
        return self._annotate(run, known, lambda _: given)

    def tag_experiment(self, run_id: str, tags: Iterable[str], append: bool = True) -> bool:
        """Add tags behind those that the run has, or replace them; False for an unknown run.

        Tags are trimmed; InvalidTags (a ValueError) unless each has 1 to 64 characters and the run at most 100.
        """
        new = checked_tags(tags)
        return self._change(run_id, lambda run: {"tags": appended_tags(run.tags, new) if append else new})

    def archive_experiment(self, run_id: str, archive: bool = True) -> bool:
        """Archived runs appear in searches only if asked for, and are not cleaned up. False for an unknown run."""
        return self._change(run_id, lambda _: {"archived": bool(archive)})

    def pin_experiment(self, run_id: str, pin: bool = True) -> bool:
        """Pinned runs are neither deleted (without `force`) nor cleaned up. False for an unknown run."""
        return self._change(run_id, lambda _: {"pinned": bool(pin)})

    def search_experiments(
        self,
        project: str | None = None,
        tags: Iterable[str] | None = None,
        text: str | None = None,
        archived: bool = False,
        pinned: bool | None = None,
    ) -> list[ExperimentMetadata]:
        """Runs that satisfy every given condition, last updated first, then by id descending.

        `project` is compared exactly, all `tags` are required, `text` is sought regardless of case in name, project,
        description and tags. `archived` includes archived runs.
        """
        required = set(tags or ())
        sought = (text or "").casefold()
        found = [
            run
            for run in self._known_runs()
            if (project is None or run.project == project)
            and required.issubset(run.tags)
            and (archived or not run.archived)
            and (pinned is None or run.pinned == pinned)
            and _says(run, sought)
        ]
        return sorted(found, key=lambda run: (run.updated_at, run.id), reverse=True)

    def delete_experiments(self, run_ids: Sequence[str], force: bool = False) -> dict[str, bool]:
        """Remove runs for good, with their entries; whether each is gone. Unknown runs and failures are False.

        Pinned runs need `force`. Runs in the recycle bin may be removed, too. An entry whose run is gone already is
        removed.
        """
        wanted = list(dict.fromkeys([run_ids] if isinstance(run_ids, str) else run_ids))
        entries = self._file.read()
        runs = self._runs_by_id(wanted)
        unlocked = [run_id for run_id in wanted if force or not self._is_pinned(run_id, entries, runs.get(run_id))]
        removed = self._purge([runs[run_id] for run_id in unlocked if run_id in runs])
        removed |= set(forget_entries(self.storage_root, [run_id for run_id in unlocked if run_id not in runs]))
        return {run_id: run_id in removed for run_id in wanted}

    def cleanup_old_experiments(self, days: float = 30, dry_run: bool = True) -> list[str]:
        """Put runs into the recycle bin that did nothing for `days`; the ids of those (with `dry_run`: that would be).

        Pinned, archived and running runs stay, as do runs that are links.
        """
        if not days >= 0:
            raise ValueError(f"days must not be negative, got {days}")
        limit = time.time() - days * _DAY_S
        entries = self._file.read()
        old: list[StoredRun] = []
        for run_id, run in self._runs_by_id().items():
            entry = _entry(run_id, entries, run)
            if run.is_deleted or run.path.is_symlink() or run.last_activity > limit or run.status == RUNNING:
                continue
            if entry is not None and (entry.pinned or entry.archived or entry.updated_at > limit):
                continue
            old.append(run)
        return [run.run_id for run in (old if dry_run else self._soft_delete(old))]

    def get_experiment_stats(self) -> dict[str, Any]:
        """Numbers of known runs: `total`, `archived`, `pinned`, `active` (not archived), per project; and all tags."""
        known = list(self._known_runs())
        archived = sum(run.archived for run in known)
        return {
            "total": len(known),
            "archived": archived,
            "pinned": sum(run.pinned for run in known),
            "projects": dict(Counter(run.project for run in known)),
            "tags": sorted({tag for run in known for tag in run.tags}),
            "active": len(known) - archived,
        }

    def _change(self, run_id: str, change: Change) -> bool:
        run = self._runs_by_id([run_id]).get(run_id)
        known = _entry(run_id, self._file.read(), None) if run is None else _of(run)
        if known is None or (run is not None and run.is_deleted):
            return False
        self._annotate(run, known, change)
        return True

    def _annotate(self, run: StoredRun | None, known: ExperimentMetadata, change: Change) -> ExperimentMetadata:
        place = None if run is None else RunPlace(run.key, run.run_id)
        # What the file says is what counts: the read model, which may know more, is the server's.
        older = msgspec.structs.replace(known, updated_at=0.0)
        return annotate(self.storage_root, place, older, change, self._log.append)

    def _runs_by_id(self, run_ids: Iterable[str] | None = None) -> dict[str, StoredRun]:
        """One run per id in list order: of several the first one that is not in the recycle bin, else the first one."""
        found: dict[str, StoredRun] = {}
        for run in stored_runs(self.storage_root, run_ids):
            if run.run_id not in found or (found[run.run_id].is_deleted and not run.is_deleted):
                found[run.run_id] = run
        return found

    def _known_runs(self) -> Iterator[ExperimentMetadata]:
        entries = self._file.read()
        runs = self._runs_by_id()
        for run_id, run in runs.items():
            if not run.is_deleted:
                yield _entry(run_id, entries, run) or _of(run)
        for run_id in entries.keys() - runs.keys():
            entry = _entry(run_id, entries, None)
            if entry is not None:
                yield entry

    def _is_pinned(self, run_id: str, entries: Mapping[str, Any], run: StoredRun | None) -> bool:
        entry = _entry(run_id, entries, run)
        return entry is not None and entry.pinned

    def _purge(self, runs: Sequence[StoredRun]) -> set[str]:
        try:
            failures = purge(self.storage_root, _places(runs), self._log.append).failures
        except RunicornError as error:
            logger.warning("could not remove runs: %s", error)
            return set()
        return {run.run_id for run in runs if failures[run.key] is None}

    def _soft_delete(self, runs: Sequence[StoredRun]) -> list[StoredRun]:
        """Those that are in the recycle bin now."""
        places = _places(runs)
        try:
            failures = put_into_bin(self.storage_root, places, self._log.append, reason="cleanup")
        except RunicornError as error:
            logger.warning("could not put runs into the recycle bin: %s", error)
            return []
        for run in runs:
            if failures[run.key] is not None:
                logger.warning("could not put the run %s into the recycle bin: %s", run.run_id, failures[run.key])
        return [run for run in runs if failures[run.key] is None]


def _places(runs: Iterable[StoredRun]) -> list[RunPlace]:
    return [RunPlace(run.key, run.run_id) for run in runs]


def _entry(run_id: str, entries: Mapping[str, Any], run: StoredRun | None) -> ExperimentMetadata | None:
    """The stored entry of a run, or of an id that no run has; None if there is none, or it is damaged."""
    nothing = ExperimentMetadata(run_id, None, None, created_at=0.0, updated_at=0.0)
    return entry_of(entries, nothing if run is None else _of(run))


def _of(run: StoredRun) -> ExperimentMetadata:
    """What is known about a run without an entry."""
    return ExperimentMetadata(
        run.run_id, run.project, run.name, created_at=run.created_at, updated_at=run.last_activity
    )


def _says(run: ExperimentMetadata, sought: str) -> bool:
    texts = (run.name, run.project, run.description, " ".join(run.tags))
    return any(sought in text.casefold() for text in texts if text) or not sought
