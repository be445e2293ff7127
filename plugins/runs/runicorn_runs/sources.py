"""0.4.0's files of a run, turned into events: what they say and the event streams do not.

A file wins over what the read model says if it is newer. The time of an observed fact is when the file says that it
became true (`created_at`, `ended_at`, `started_at`, `deleted_at`); where that is older than what is known, but the file
was written later, it is the file's modification time. Files that our SDK writes say nothing new and cost no event.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import apsw

from runicorn.plugin import (
    ARTIFACTS_CREATED_FILE,
    ARTIFACTS_USED_FILE,
    DELETED_FILE,
    META_FILE,
    METADATA_FILE,
    SIDE_FILE_BYTES,
    STATUS_FILE,
    SUMMARY_FILE,
    Claim,
    Deletion,
    Payload,
    RunDirectory,
    RunObserved,
    dump_json,
    number,
    open_to_read,
    parse_json,
    prepared_deletions,
)
from runicorn_runs.entries import ObservedEntries
from runicorn_runs.events import RunVanished
from runicorn_runs.facts import (
    DIRECTORY,
    OBSERVED_FILES,
    ArtifactList,
    Content,
    Meta,
    RunStatus,
)
from runicorn_runs.projections.run_claims import RunFacts, facts_of


class RunFiles:
    """The source `run_files`: meta, status, summary, recycle-bin marker and artifact lists of a run directory, and entries."""

    name = "run_files"
    files = OBSERVED_FILES
    root_files = frozenset({METADATA_FILE})

    def __init__(self) -> None:
        self._entries = ObservedEntries()

    def known_runs(self, model: apsw.Connection) -> Iterable[str]:
        """Keys of all runs in the read model, the ones in the recycle bin included."""
        return (str(row[0]) for row in model.execute("SELECT key FROM run"))

    def observe(self, root: Path, run: RunDirectory, model: apsw.Connection) -> Sequence[tuple[float, Payload]]:
        """See `runicorn.plugin.Source`."""
        now = time.time()
        known = facts_of(model, run.key)
        directory = f"{root}/{run.key}"
        try:
            directory_mtime = os.stat(directory).st_mtime
            present = OBSERVED_FILES.intersection(os.listdir(directory))
        except (FileNotFoundError, NotADirectoryError):
            if known is None or not _could_be_listed(known):
                return []
            return [(now, RunVanished(run=run.key, run_id=run.run_id, observed_at=now))]
        except OSError:  # it is there, but must not be read now
            return []
        observed: list[tuple[float, Payload]] = self._entries.say_of(root, run, known, now)

        def say(file: str, content: dict[str, Any] | None, ts: float) -> None:
            observed.append(
                (ts, RunObserved(run=run.key, run_id=run.run_id, file=file, content=content, observed_at=now))
            )

        for file in sorted(OBSERVED_FILES):
            found = _read(f"{directory}/{file}") if file in present else None
            before = _claim_on(file, known)
            if found is None:
                if before is not None and file == DELETED_FILE and _is_restored(Path(directory), before.value):
                    say(file, None, max(now, before.ts))
                continue
            content, mtime = found
            if before is not None and _says_the_same(file, content, mtime, before.value):
                continue
            ts = _since(file, content, mtime)
            if before is not None and ts <= before.ts:
                ts = mtime
            if before is None or ts > before.ts:
                say(file, content, ts)
        if known is None or not known.exists:
            was_gone = known is not None and known.present is not None
            say(DIRECTORY, {"mtime": directory_mtime}, now if was_gone else directory_mtime)
        elif known.directory is None and _lacks_time(known, observed):
            say(DIRECTORY, {"mtime": directory_mtime}, directory_mtime)
        return observed

    def observe_root(self, root: Path, model: apsw.Connection) -> Sequence[tuple[float, Payload]]:
        """See `runicorn.plugin.Source`."""
        return self._entries.say_of_changed(root, model)


def _is_restored(run_dir: Path, deletion: Deletion | None) -> bool:
    """Whether somebody removed the marker of a known deletion, and it is not just about to be written, or was just now."""
    if deletion is None or deletion in prepared_deletions(run_dir):
        return False
    return not os.path.lexists(run_dir / DELETED_FILE)


def _could_be_listed(known: RunFacts) -> bool:
    return known.exists and known.present is not None


def _lacks_time(known: RunFacts, observed: list[tuple[float, Payload]]) -> bool:
    if known.meta is not None and known.meta.value.created_at is not None:
        return False
    metas = [payload for _, payload in observed if isinstance(payload, RunObserved) and payload.file == META_FILE]
    return not any(number((payload.content or {}).get("created_at")) is not None for payload in metas)


def _read(path: str) -> tuple[dict[str, Any], float] | None:
    """The object in a file and its modification time; `{}` if it holds anything else, None if it does not exist."""
    try:
        with open_to_read(path) as file:
            stat = os.fstat(file.fileno())
            data = file.read(SIDE_FILE_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError:
        try:
            return {}, os.stat(path).st_mtime
        except OSError:
            return None
    try:
        value = parse_json(data) if len(data) <= SIDE_FILE_BYTES else {}
    except ValueError:
        value = {}
    return (value if isinstance(value, dict) else {}), stat.st_mtime


def _claim_on(file: str, known: RunFacts | None) -> Claim[Any] | None:
    if known is None:
        return None
    claims: dict[str, Claim[Any] | None] = {
        META_FILE: known.meta,
        STATUS_FILE: known.status,
        SUMMARY_FILE: known.summary,
        DELETED_FILE: known.deleted,
        ARTIFACTS_CREATED_FILE: known.created,
        ARTIFACTS_USED_FILE: known.used,
    }
    return claims[file]


def _says_the_same(file: str, content: Content, mtime: float, value: Any) -> bool:
    if file == META_FILE:
        return Meta.read(content) == value
    if file == STATUS_FILE:
        return RunStatus.read(content).says_the_same_as(value)
    if file == SUMMARY_FILE:
        return dump_json(content) == value or dump_json(parse_json(dump_json(content))) == dump_json(parse_json(value))
    if file == DELETED_FILE:
        return value is not None and Deletion.read(content, mtime) == value
    return ArtifactList.read(content) == value


def _since(file: str, content: Content, mtime: float) -> float:
    if file == META_FILE:
        said = number(content.get("created_at"))
    elif file == STATUS_FILE:
        said = number(content.get("ended_at"))
        said = number(content.get("started_at")) if said is None else said
    elif file == DELETED_FILE:
        said = number(content.get("deleted_at"))
    else:
        said = None
    return mtime if said is None else said
