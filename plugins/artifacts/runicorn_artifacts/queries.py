"""Tables → structs: the SQL behind the routes."""

from __future__ import annotations

import apsw

from runicorn.plugin import RunNotFound
from runicorn_artifacts.run_artifacts import Entry


def run_key(db: apsw.Connection, run_id: str) -> str:
    """The key of a listed run, from the read model of the `runs` plugin; of several the first in the order of lists.

    RunNotFound if there is none.
    """
    rows = db.execute(
        "SELECT key FROM run WHERE run_id = ? AND listed"
        " ORDER BY is_legacy, project_fold, name_fold, created DESC, run_id DESC LIMIT 1",
        (run_id,),
    ).fetchall()
    if not rows:
        raise RunNotFound(run_id)
    return str(rows[0][0])


def run_artifacts(db: apsw.Connection, key: str, direction: str) -> list[Entry]:
    """The artifacts that a run has created or used, in the order of its file."""
    rows = db.execute(
        "SELECT type, name, version, size_bytes, at FROM run_artifact WHERE run = ? AND direction = ? ORDER BY position",
        (key, direction),
    )
    return [Entry(*row) for row in rows]  # type: ignore[arg-type]
