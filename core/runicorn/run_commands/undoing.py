"""Taking a command on a run back: by the commands that carried it out, from the values that its history tells of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from runicorn.errors import Conflict
from runicorn.events.decided import (
    RunArchived,
    RunDeleted,
    RunDescribed,
    RunPinned,
    RunPurged,
    RunRestored,
    RunTagged,
)
from runicorn.events.discovery import is_attached
from runicorn.experiment_file import ExperimentMetadata
from runicorn.history.entries import FieldChange
from runicorn.history.facts import same
from runicorn.history.subject import ChangedSince
from runicorn.run_commands.annotating import annotate
from runicorn.run_commands.marker import Deletion
from runicorn.run_commands.on_store import RunIsReadOnly
from runicorn.run_commands.recycling import Record, RunPlace, put_into_bin, take_out

REVERSIBLE_DECISIONS = frozenset(
    event.event_type for event in (RunDeleted, RunRestored, RunTagged, RunDescribed, RunArchived, RunPinned)
)
IRREVERSIBLE_DECISIONS = {RunPurged.event_type: "what is removed for good cannot be brought back"}

_SAID = frozenset({"tags", "description", "archived", "pinned"})
_DELETED = "deleted"


class NotTakenBack(Conflict):
    """The run is not in a state in which that can be done."""


def take_back_decision(
    root: Path, run: RunPlace, known: ExperimentMetadata, changes: Sequence[FieldChange], record: Record
) -> None:
    """Set every field to what it was `before`. ChangedSince if one is not as it was `after`: then nothing has changed.

    `known` is what is said about the run, where its entry in the metadata file is older. RunIsReadOnly for a run of a server.
    """
    if is_attached(run.key):
        raise RunIsReadOnly(run.run_id)
    said = [change for change in changes if change.field in _SAID]
    moved = [change for change in changes if change.field == _DELETED]
    for change in moved:
        _move(root, run, change, record)
    if said:
        annotate(root, run, known, lambda current: _as_before(current, said), record)


def _as_before(current: ExperimentMetadata, changes: Sequence[FieldChange]) -> dict[str, Any]:
    for change in changes:
        if not same(getattr(current, change.field), change.after):
            raise ChangedSince(change.field)
    return {change.field: change.before for change in changes}


def _move(root: Path, run: RunPlace, change: FieldChange, record: Record) -> None:
    """Out of the recycle bin, or back into it with the marker that it had."""
    stored = Deletion.stored(root / run.key)
    if not same(None if stored is None else stored.content(), change.after):
        raise ChangedSince(change.field)
    if change.before is None:
        failures = take_out(root, [run], record)
    else:
        before = cast("Mapping[str, Any]", change.before)
        deletion = Deletion.read(before, 0.0)
        failures = put_into_bin(root, [run], record, reason=deletion.reason, deletion=deletion)
    failure = failures[run.key]
    if failure is not None:
        raise NotTakenBack(f"It cannot be taken back: {failure}")
