"""Commands on runs in a server: for ids, in one pass for all of them, and visible to every reader when they return.

Of several runs with one id, the first in list order is meant that the command can be about: to delete, the first that is
not in the recycle bin; to restore, the first that is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

import apsw

from runicorn.events.envelope import Payload
from runicorn.events.log import Stream
from runicorn.run_commands.ids import KnownRun, runs_named
from runicorn.run_commands.marker import USER_DELETED
from runicorn.run_commands.purging import Purged
from runicorn.run_commands.purging import purge as purge_places
from runicorn.run_commands.recycling import NOT_DELETED, NOT_FOUND, RunPlace, put_into_bin, take_out
from runicorn.run_lookup import LIST_ORDER
from runicorn.store import Store

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
    places = [place for place in chosen.values() if place is not None]
    failures = await asyncio.to_thread(put_into_bin, store.root, places, recorder, reason=reason)
    await recorder.until_visible()
    return {run_id: NOT_FOUND if place is None else failures[place.key] for run_id, place in chosen.items()}


async def restore(store: Store, run_ids: Sequence[str]) -> Outcomes:
    """Take runs out of the recycle bin, as they were before.

    Failures: `run not found`, `run not deleted`, `could not remove marker`. StorageUnavailable as above.
    """
    named = await runs_named(store, run_ids)
    chosen = {run_id: _first(runs, is_listed=False) for run_id, runs in named.items()}
    recorder = _Recorder(store)
    places = [place for place in chosen.values() if place is not None]
    failures = await asyncio.to_thread(take_out, store.root, places, recorder)
    await recorder.until_visible()
    return {
        run_id: failures[place.key] if place is not None else NOT_DELETED if named[run_id] else NOT_FOUND
        for run_id, place in chosen.items()
    }


async def purge(store: Store, run_ids: Sequence[str]) -> tuple[Outcomes, int]:
    """Remove the runs that ids mean for good, in the recycle bin or not; outcomes, and bytes that are free now.

    Artifacts that a run made stay. What could not be removed is in the recycle bin. StorageUnavailable as above.
    """
    named = await runs_named(store, run_ids)
    chosen = {run_id: _first(runs, is_listed=True) or _first(runs, is_listed=False) for run_id, runs in named.items()}
    several = {run_id for run_id, runs in named.items() if len(runs) > 1}
    purged = await _purge(store, [place for place in chosen.values() if place is not None], several)
    outcomes = {run_id: NOT_FOUND if place is None else purged.failures[place.key] for run_id, place in chosen.items()}
    return outcomes, purged.bytes_freed


async def empty_recycle_bin(store: Store) -> tuple[list[str], list[str], int]:
    """Remove everything in the recycle bin for good; ids of what is gone, ids of what is not, and bytes that are free."""
    places, elsewhere = await store.model("runs").run(_in_bin)
    purged = await _purge(store, places, elsewhere)
    gone = [place.run_id for place in places if purged.failures[place.key] is None]
    kept = [place.run_id for place in places if purged.failures[place.key] not in (None, NOT_FOUND)]
    return gone, kept, purged.bytes_freed


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


def _first(runs: Iterable[KnownRun], *, is_listed: bool) -> RunPlace | None:
    return next((run.place for run in runs if run.is_listed == is_listed), None)


def _in_bin(db: apsw.Connection) -> tuple[list[RunPlace], list[str]]:
    """What the recycle bin holds, in list order; and the ids among them that also name a run outside of it."""
    rows = db.execute(f"SELECT key, run_id FROM run WHERE NOT listed ORDER BY {LIST_ORDER}").fetchall()
    elsewhere = db.execute(
        "SELECT DISTINCT run_id FROM run WHERE listed AND run_id IN (SELECT run_id FROM run WHERE NOT listed)"
    )
    return [RunPlace(str(key), str(run_id)) for key, run_id in rows], [str(run_id) for (run_id,) in elsewhere]
