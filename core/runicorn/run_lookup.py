"""From a run's id to its key, its path below the root.

An id may exist several times; which run it means is said once, by the view `run_named` of the read model `runs`.
"""

from __future__ import annotations

import apsw

from runicorn.errors import NotFound, RunNotFound, shown
from runicorn.store import Store

LIST_ORDER = "is_foreign, is_legacy, project_fold, name_fold, created DESC, run_id DESC, key"
"""List order of rows of the table `run` in the read model `runs`, for `ORDER BY`."""

_CANDIDATES = 10


class RunAmbiguous(NotFound):
    """Several runs have an id that begins so."""

    def __init__(self, text: str, ids: list[str]) -> None:
        super().__init__(f"{shown(text)} may be any of these runs:\n  " + "\n  ".join(ids))


class NoSuchRun(NotFound):
    """No run has an id that begins so."""

    def __init__(self, text: str) -> None:
        super().__init__(f"No run has the id {shown(text)}, or one that begins so. `runicorn runs` lists them.")


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


def run_meant(db: apsw.Connection, text: str) -> str:
    """The key of the run that people mean by an id, the beginning of one, or a path below the root.

    NoSuchRun or RunAmbiguous (both NotFound) if not exactly one is. `db` is the read model `runs`.
    """
    exact = db.execute("SELECT key FROM run_named WHERE run_id = ?1 UNION SELECT key FROM run WHERE key = ?1", (text,))
    for (key,) in exact.fetchall():
        return str(key)
    begun = db.execute(
        "SELECT run_id FROM run WHERE run_id >= ?1 AND run_id < ?2 GROUP BY run_id"
        " ORDER BY max(listed) DESC, run_id DESC LIMIT ?3",
        (text, f"{text}\U0010ffff", _CANDIDATES),
    )
    ids = [str(run_id) for (run_id,) in begun] if text else []
    if not ids:
        raise NoSuchRun(text)
    if len(ids) > 1:
        raise RunAmbiguous(text, ids)
    return str(db.execute("SELECT key FROM run_named WHERE run_id = ?", ids).fetchall()[0][0])
