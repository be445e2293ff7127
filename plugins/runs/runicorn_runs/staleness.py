"""Running runs that say nothing any more. They are shown as stale, and nothing is written: only liveness judges.

The heartbeat of a run is the time of its last event, on the clock of the training host.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import apsw

from runicorn.plugin import Store, stale_after_s

_KEPT_S = 1.0
_SHARE = 100.0  # with thousands of running runs, looking takes at most one percent of the time


class StaleRuns:
    """The stale runs of a store, looked up at most once a second."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._after_s = stale_after_s()
        self._until = 0.0
        self._build: object = None
        self._stale: dict[int, float] = {}

    def last_activity(self) -> dict[int, float]:
        """By row id of each listed run that is stale now: when it was active last."""
        now = time.monotonic()
        model = self._store.model("runs")
        build, _ = model.counter("runs")
        if now >= self._until or build != self._build:  # in another build, row ids are those of other runs
            self._stale = model.query(_silent_since, self._store.now() - self._after_s)
            self._build = build
            ended = time.monotonic()
            self._until = ended + max(_KEPT_S, _SHARE * (ended - now))
        return self._stale

    def last_activity_of(self, key: str) -> float | None:
        """When a run was active last, if it is stale now; exact."""
        limit = self._store.now() - self._after_s
        found = self._store.model("runs").query(_silent_since, limit, " AND key = ?", (key,))
        return next(iter(found.values()), None)


def _silent_since(
    db: apsw.Connection, limit: float, condition: str = "", parameters: Sequence[str] = ()
) -> dict[int, float]:
    rows = db.execute(
        "SELECT id, last FROM (SELECT rowid AS id, max(ifnull(created, 0), ifnull(started, 0),"
        " ifnull((SELECT last_ts FROM stream JOIN activity ON stream_id = stream.id WHERE stream.name = run.key), 0)) AS last"
        f" FROM run WHERE listed AND status = 'running'{condition}) WHERE last < ? ORDER BY id",
        (*parameters, limit),
    )
    return {int(row_id): float(last) for row_id, last in rows}  # type: ignore[arg-type]  # numbers, by the schema
