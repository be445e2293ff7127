"""`.experiments_metadata.json` as 0.4.0 writes it, turned into events: what its entries say and the log does not.

An entry wins over the log if its own `updated_at` is later: the file is written as a whole, so its modification time says
nothing about one entry. An entry that goes says nothing: a run that is removed for good is told by the run. Where an id
names several runs, its entry speaks of all of them. Our own commands record first, and write the same.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import apsw

from runicorn.plugin import (
    METADATA_FILE,
    ExperimentMetadata,
    FollowedEntries,
    Payload,
    RunDirectory,
    RunObserved,
    dump_json,
    number,
    run_at,
)
from runicorn_runs.facts import Content, Entry, Label
from runicorn_runs.projections.run_claims import RunFacts, facts_of

_KEYS = ("project", "name", "tags", "description", "created_at", "updated_at", "archived", "pinned")

Observed = list[tuple[float, Payload]]


class ObservedEntries:
    """The entries of one root, read again when the file changes."""

    def __init__(self) -> None:
        self._entries = FollowedEntries(_sound)

    def say_of(self, root: Path, run: RunDirectory, known: RunFacts | None, now: float) -> Observed:
        """What the entry of a run says and the log does not."""
        entry = self._entries.get(run.run_id) if self._entries.refresh(root) else None
        return [] if entry is None else [*self._say([(run, known, entry)], now)]

    def say_of_changed(self, root: Path, model: apsw.Connection) -> Observed:
        """What entries say that changed since the last call; at the first one, what all of them say."""
        if not self._entries.refresh(root):
            return []
        rows = model.execute(
            "SELECT key, run_id FROM run WHERE run_id IN (SELECT value FROM json_each(?))",
            (dump_json(sorted(self._entries.changed)).decode(),),
        ).fetchall()
        runs = ((run_at(str(key)), facts_of(model, str(key)), self._entries.get(str(run_id))) for key, run_id in rows)
        said = self._say(((run, facts, entry) for run, facts, entry in runs if entry is not None), time.time())
        # What is said is compared again: nobody knows yet whether it gets into the log.
        self._entries.changed = {payload.run_id for _, payload in said}
        return [*said]

    def _say(
        self, runs: Iterable[tuple[RunDirectory, RunFacts | None, Content]], now: float
    ) -> list[tuple[float, RunObserved]]:
        said: list[tuple[float, RunObserved]] = []
        for run, known, content in runs:
            since = number(content.get("updated_at"))
            since = self._entries.modified if since is None else since
            if not _is_known(run, Entry.read(content), known) and since > _known_since(known):
                observed = RunObserved(
                    run=run.key, run_id=run.run_id, file=METADATA_FILE, content=dict(content), observed_at=now
                )
                said.append((since, observed))
        return said


def _sound(stored: object) -> dict[str, Any] | None:
    """What we know of an entry; None if it is damaged."""
    if not isinstance(stored, dict):
        return None
    entry = {name: value for name, value in cast(dict[str, Any], stored).items() if name in _KEYS}
    try:
        ExperimentMetadata.from_dict({"project": None, "name": None, **entry, "id": ""})
    except ValueError:
        return None
    return entry


def _is_known(run: RunDirectory, entry: Entry, known: RunFacts | None) -> bool:
    said = (
        [] if known is None or known.tags is None else known.tags.value,
        None if known is None or known.description is None else known.description.value,
        known is not None and known.archived is not None and known.archived.value,
        known is not None and known.pinned is not None and known.pinned.value,
    )
    if said != (entry.tags, entry.description, entry.archived, entry.pinned):
        return False
    label = None if known is None or known.label is None else known.label.value
    return entry.label == label or (label is None and _says_nothing_else(run, entry.label or Label(), known))


def _says_nothing_else(run: RunDirectory, label: Label, known: RunFacts | None) -> bool:
    """Whether an entry lists a run under the names that it has anyway."""
    meta = None if known is None or known.meta is None else known.meta.value
    names = run.names(meta and meta.project, meta and meta.name)
    return all(
        own is None or shown in (None, own) for shown, own in zip((label.project, label.name), names, strict=True)
    )


def _known_since(known: RunFacts | None) -> float:
    if known is None:
        return float("-inf")
    claims = (known.tags, known.description, known.archived, known.pinned, known.label)
    return max((claim.ts for claim in claims if claim is not None), default=float("-inf"))
