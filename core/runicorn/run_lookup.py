"""From a run's id to its key, its path below the root.

An id may exist several times; which run it means is said once, by the view `run_named` of the read model `runs`.
"""

from __future__ import annotations

import apsw

from runicorn.errors import RunNotFound
from runicorn.store import Store

LIST_ORDER = "is_foreign, is_legacy, project_fold, name_fold, created DESC, run_id DESC, key"
"""List order of rows of the table `run` in the read model `runs`, for `ORDER BY`."""


async def find_run(store: Store, run_id: str, *, include_deleted: bool = False) -> str:
    """The key of the run that an id means; also of one that was made a moment ago.

    RunNotFound if there is none, or (without `include_deleted`) only in the recycle bin.
    """
    model = store.model("runs")
    try:
        key = model.query(_run_key, run_id, include_deleted)
    except RunNotFound:
        await store.discover()
        key = model.query(_run_key, run_id, include_deleted)
    await store.bring(key)
    return key


def _run_key(db: apsw.Connection, run_id: str, include_deleted: bool) -> str:
    rows = db.execute("SELECT key FROM run_named WHERE run_id = ? AND (listed OR ?)", (run_id, include_deleted))
    for (key,) in rows.fetchall():
        return str(key)
    raise RunNotFound(run_id)
