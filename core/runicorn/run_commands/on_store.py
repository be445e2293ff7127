"""Commands on runs in a server: for ids, in one pass for all of them, and visible to every reader when they return.

Of several runs with one id, the first in list order is meant that the command can be about: to delete, the first that is
not in the recycle bin; to restore, the first that is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import apsw

from runicorn.errors import Conflict, RunNotFound, shown
from runicorn.events.discovery import is_attached
from runicorn.events.envelope import Payload
from runicorn.events.log import Stream
from runicorn.experiment_file import ExperimentMetadata
from runicorn.files import parse_json
from runicorn.run_commands.annotating import Change, annotate
from runicorn.run_commands.ids import KnownRun, runs_named
from runicorn.run_commands.marker import USER_DELETED
from runicorn.run_commands.purging import Purged, forget_entries
from runicorn.run_commands.purging import purge as purge_places
from runicorn.run_commands.recycling import NOT_DELETED, NOT_FOUND, RunPlace, put_into_bin, take_out
from runicorn.run_lookup import LIST_ORDER, find_run
from runicorn.store import Store

_ENTRIES_LOCK_S = 5.0

IS_PINNED = "run is pinned"


class RunIsReadOnly(Conflict):
    """The run belongs to a server, and what is here is its cache."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"Run belongs to a remote server and is read-only: {shown(run_id)}")


Outcomes = dict[str, str | None]
"""By run id, in the order of the request, each once: why the command failed for it; None where it did not."""


async def soft_delete(store: Store, run_ids: Sequence[str], *, reason: str = USER_DELETED) -> Outcomes:
    """Put runs into the recycle bin. Running runs may be deleted, too.

    Failures: `run not found` (unknown, or in the bin already), `run directory is a link`, `could not write marker`.
    StorageUnavailable if nothing could be recorded; then nothing has changed.
    """
    named = await runs_named(store, run_ids)
    chosen = {run_id: _first(runs, is_listed=True) for run_id, runs in named.items()}
    recorder = _Recorder(store)
    read_only = _read_only(chosen)
    places = [run.place for run_id, run in chosen.items() if run is not None and run_id not in read_only]
    failures = await asyncio.to_thread(put_into_bin, store.root, places, recorder, reason=reason)
    await recorder.until_visible()
    return {
        run_id: NOT_FOUND if run is None else read_only.get(run_id) or failures[run.place.key]
        for run_id, run in chosen.items()
    }


async def restore(store: Store, run_ids: Sequence[str]) -> Outcomes:
    """Take runs out of the recycle bin, as they were before.

    Failures: `run not found`, `run not deleted`, `could not remove marker`. StorageUnavailable as above.
    """
    named = await runs_named(store, run_ids)
    chosen = {run_id: _first(runs, is_listed=False) for run_id, runs in named.items()}
    recorder = _Recorder(store)
    read_only = _read_only(chosen)
    places = [run.place for run_id, run in chosen.items() if run is not None and run_id not in read_only]
    failures = await asyncio.to_thread(take_out, store.root, places, recorder)
    await recorder.until_visible()
    return {
        run_id: read_only.get(run_id) or failures[run.place.key]
        if run is not None
        else NOT_DELETED
        if named[run_id]
        else NOT_FOUND
        for run_id, run in chosen.items()
    }


async def purge(store: Store, run_ids: Sequence[str], *, force: bool = True) -> tuple[Outcomes, int]:
    """Remove the runs that ids mean for good, in the recycle bin or not; outcomes, and bytes that are free now.

    Artifacts that a run made stay. What could not be removed is in the recycle bin. Without `force`, pinned runs stay.
    What people said about a run whose directory is gone already goes, too. Failures: `run not found`, `run is pinned`,
    `could not be removed`. StorageUnavailable as above.
    """
    named = await runs_named(store, run_ids)
    chosen = {run_id: _first(runs, is_listed=True) or _first(runs, is_listed=False) for run_id, runs in named.items()}
    outcomes: Outcomes = dict.fromkeys(named, NOT_FOUND)
    places: dict[str, RunPlace] = {}
    read_only = _read_only(chosen)
    for run_id, run in chosen.items():
        if run_id in read_only:
            outcomes[run_id] = read_only[run_id]
        elif run is not None and run.is_pinned and not force:
            outcomes[run_id] = IS_PINNED
        elif run is not None:
            places[run_id] = run.place
    several = {run_id for run_id, runs in named.items() if len(runs) > 1}
    purged = await _purge(store, list(places.values()), several)
    outcomes |= {run_id: purged.failures[place.key] for run_id, place in places.items()}
    unknown = [run_id for run_id, run in chosen.items() if run is None]
    outcomes |= dict.fromkeys(await asyncio.to_thread(forget_entries, store.root, unknown, force=force))
    return outcomes, purged.bytes_freed


async def empty_recycle_bin(store: Store) -> tuple[list[str], list[str], int]:
    """Remove everything in the recycle bin for good; ids of what is gone, ids of what is not, and bytes that are free."""
    places, elsewhere = await store.model("runs").run(_in_bin)
    purged = await _purge(store, places, elsewhere)
    gone = [place.run_id for place in places if purged.failures[place.key] is None]
    kept = [place.run_id for place in places if purged.failures[place.key] not in (None, NOT_FOUND)]
    return gone, kept, purged.bytes_freed


async def annotate_run(store: Store, run_id: str, change: Change) -> ExperimentMetadata:
    """Change what is said about the run that an id means; visible to every reader when this returns.

    `change` is called in a thread. RunNotFound, StorageUnavailable, or whatever it raises: then nothing has changed.
    """
    key = await find_run(store, run_id)
    if is_attached(key):
        raise RunIsReadOnly(run_id)
    known = store.model("runs").query(said_of, key)
    recorder = _Recorder(store)
    changed = await asyncio.to_thread(
        annotate, store.root, RunPlace(key, run_id), known, change, recorder, lock_timeout_s=_ENTRIES_LOCK_S
    )
    await recorder.until_visible()
    return changed


def said_of(db: apsw.Connection, key: str) -> ExperimentMetadata:
    """What the read model `runs` knows to be said about a run. RunNotFound if there is none with this key."""
    rows = db.execute(
        "SELECT run_id, project, name, tags, description, ifnull(created, 0), ifnull(annotated, 0), archived, pinned"
        " FROM run WHERE key = ?",
        (key,),
    ).fetchall()
    if not rows:
        raise RunNotFound(key.rpartition("/")[2])
    run_id, project, name, tags, description, created, annotated, archived, pinned = cast(list[tuple[Any, ...]], rows)[
        0
    ]
    return ExperimentMetadata(
        run_id, project, name, parse_json(tags.encode()), description, created, annotated, bool(archived), bool(pinned)
    )


async def _purge(store: Store, places: Sequence[RunPlace], keep_entries: Iterable[str]) -> Purged:
    recorder = _Recorder(store)
    purged = await asyncio.to_thread(purge_places, store.root, places, recorder, keep_entries=frozenset(keep_entries))
    await recorder.until_visible()
    return purged


class _Recorder:
    """Records events from a thread, and remembers in which streams they are."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._streams: dict[Stream, None] = {}

    def __call__(self, *payloads: Payload) -> None:
        self._streams[self._store.record(*payloads)] = None

    async def until_visible(self) -> None:
        await self._store.until_visible(*self._streams)


def _read_only(chosen: Mapping[str, KnownRun | None]) -> dict[str, str]:
    """Why nothing can be done with those of the runs that are in the cache of a server."""
    return {
        run_id: str(RunIsReadOnly(run_id))
        for run_id, run in chosen.items()
        if run is not None and is_attached(run.place.key)
    }


def _first(runs: Iterable[KnownRun], *, is_listed: bool) -> KnownRun | None:
    return next((run for run in runs if run.is_listed == is_listed), None)


def _in_bin(db: apsw.Connection) -> tuple[list[RunPlace], list[str]]:
    """What the recycle bin holds, in list order; and the ids among them that also name a run outside of it."""
    rows = db.execute(f"SELECT key, run_id FROM run WHERE NOT listed ORDER BY {LIST_ORDER}").fetchall()
    elsewhere = db.execute(
        "SELECT DISTINCT run_id FROM run WHERE listed AND run_id IN (SELECT run_id FROM run WHERE NOT listed)"
    )
    places = [RunPlace(str(key), str(run_id)) for key, run_id in rows if not is_attached(str(key))]
    return places, [str(run_id) for (run_id,) in elsewhere]
