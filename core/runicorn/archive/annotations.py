"""What people say about runs, as `.experiments_metadata.json` has it: carried along as events, put back into the file.

0.4.0 and the SDK keep tags, descriptions, pins in that file alone. In an archive each entry is a `run.observed` event of
its run, so that the read models of the other store learn it, too.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec

from runicorn.events.discovery import RunDirectory
from runicorn.events.envelope import Event, InvalidPayload, decode_payload
from runicorn.events.observed import RunObserved
from runicorn.experiment_file import METADATA_FILE, ExperimentFile, ExperimentMetadata
from runicorn.fields import number
from runicorn.files import dump_json

logger = logging.getLogger("runicorn.archive")


def annotations_of(root: Path, runs: Sequence[RunDirectory]) -> Iterator[Event]:
    """The entries of these runs, as events of the time when they were changed."""
    entries = ExperimentFile(root).read()
    now = time.time()
    for run in runs:
        entry = entries.get(run.run_id)
        if isinstance(entry, dict):
            content = cast(dict[str, Any], entry)
            observed = RunObserved(run=run.key, run_id=run.run_id, file=METADATA_FILE, content=content, observed_at=now)
            updated = number(content.get("updated_at"))
            yield Event(
                now if updated is None else updated,
                observed.event_type,
                msgspec.Raw(dump_json(msgspec.to_builtins(observed))),
            )


def is_annotation(event: Event) -> bool:
    """Whether an event says what that file says."""
    return _observed(event) is not None


def restore_annotations(root: Path, events: Iterable[tuple[str, Event]], known: Collection[str]) -> None:
    """Put entries into the file, for runs that have none there, or are `known` and replaced. Damaged ones are left out."""
    found: dict[str, Any] = {}
    replaced: set[str] = set()
    for key, event in events:
        observed = _observed(event)
        run_id = key.rpartition("/")[2]
        if observed is None or observed.content is None:
            continue
        try:
            ExperimentMetadata.from_dict({**observed.content, "id": run_id})
        except ValueError:
            continue
        found[run_id] = {**observed.content, "id": run_id}
        if key in known:
            replaced.add(run_id)
    if not found:
        return
    try:
        with ExperimentFile(root).changing(found) as entries:
            for run_id, entry in found.items():
                if run_id not in entries or run_id in replaced:
                    entries[run_id] = entry
    except OSError as error:  # the events tell it all the same
        logger.warning("what is said about imported runs cannot be written to %s: %s", METADATA_FILE, error)


def _observed(event: Event) -> RunObserved | None:
    if event.type != RunObserved.event_type:
        return None
    try:
        observed = decode_payload(event, RunObserved)
    except InvalidPayload:
        return None
    return observed if observed.file == METADATA_FILE else None
