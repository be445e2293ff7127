"""What people say about a run: tags, description, archived, pinned. In the log first, then in `.experiments_metadata.json`.

Both are changed under the lock of that file, so that changes by several programs follow each other. Where the file cannot
be written, the event alone tells it.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any, cast

import msgspec

from runicorn.errors import StorageUnavailable
from runicorn.events.decided import RunArchived, RunDescribed, RunPinned, RunTagged
from runicorn.events.envelope import Payload
from runicorn.experiment_file import METADATA_FILE, ExperimentFile, ExperimentMetadata
from runicorn.files import LockTimeout
from runicorn.run_commands.recycling import Record, RunPlace

logger = logging.getLogger("runicorn.runs")

Change = Callable[[ExperimentMetadata], dict[str, Any]]
"""From what is said about a run now to the fields that are to be said instead: `tags` (checked), `description`,
`archived`, `pinned`; and `project` and `name`, under which the file alone lists the run."""

_LABEL = frozenset({"project", "name"})
_LOCK_TIMEOUT_S = 30.0


class EntriesLocked(StorageUnavailable):
    """Somebody else holds the lock of `.experiments_metadata.json`; nothing was recorded."""

    def __init__(self) -> None:
        super().__init__(f"Another process holds the lock of {METADATA_FILE}. Nothing was recorded; try again later.")


def annotate(
    root: Path,
    run: RunPlace | None,
    known: ExperimentMetadata,
    change: Change,
    record: Record,
    *,
    lock_timeout_s: float = _LOCK_TIMEOUT_S,
) -> ExperimentMetadata:
    """Change what is said about a run (None: about an id that no run has, or not yet), and return it.

    `known` counts where the file has no sound entry of the run, or an older one. EntriesLocked, StorageUnavailable, or
    whatever `change` raises: then nothing has changed.
    """
    with _changing(root, known.id, lock_timeout_s) as entries:
        stored = entry_of(entries, known)
        current = known if stored is None or stored.updated_at < known.updated_at else stored
        fields = change(current)
        events = (
            [] if run is None else [_event(run, name, value) for name, value in fields.items() if name not in _LABEL]
        )
        if events:
            record(*events)
        return store_entry(entries, current, fields)


def entry_of(entries: Mapping[str, Any], run: ExperimentMetadata) -> ExperimentMetadata | None:
    """The stored entry of a run; None if there is none, or it is damaged. What it lacks comes from `run`."""
    stored = entries.get(run.id)
    if not isinstance(stored, dict):
        return None
    own = {name: getattr(run, name) for name in ("project", "name", "created_at")}
    defaults = {**own, "updated_at": run.created_at}
    try:
        return ExperimentMetadata.from_dict({**defaults, **cast(dict[str, Any], stored), "id": run.id})
    except ValueError as error:
        logger.debug("ignored the entry of the run %s: %s", run.id, error)
        return None


def store_entry(entries: dict[str, Any], run: ExperimentMetadata, fields: dict[str, Any]) -> ExperimentMetadata:
    """Put changed fields into the entry of a run; keys of the entry that we do not know stay."""
    changed = msgspec.structs.replace(run, updated_at=time.time(), **fields)
    before = entries.get(run.id)
    kept = cast(dict[str, Any], before) if isinstance(before, dict) else {}
    entries[run.id] = {**kept, **changed.to_dict()}
    return changed


@contextlib.contextmanager
def _changing(root: Path, run_id: str, lock_timeout_s: float) -> Generator[dict[str, Any]]:
    with contextlib.ExitStack() as stack:
        try:
            entries = stack.enter_context(ExperimentFile(root).changing([run_id], lock_timeout_s=lock_timeout_s))
        except LockTimeout as error:
            raise EntriesLocked from error
        except OSError:  # a read-only root has no place for the lock
            entries = ExperimentFile(root).read_some([run_id])
        yield entries
        try:
            stack.close()
        except OSError as error:
            logger.warning("%s cannot be written: %s", METADATA_FILE, error.strerror)


def _event(run: RunPlace, name: str, value: Any) -> Payload:
    match name:
        case "tags":
            return RunTagged(run=run.key, run_id=run.run_id, tags=value)
        case "description":
            return RunDescribed(run=run.key, run_id=run.run_id, description=value)
        case "archived":
            return RunArchived(run=run.key, run_id=run.run_id, archived=value)
        case "pinned":
            return RunPinned(run=run.key, run_id=run.run_id, pinned=value)
        case _:
            raise ValueError(f"nobody says {name} about a run")
