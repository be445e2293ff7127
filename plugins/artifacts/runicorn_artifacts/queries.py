"""Tables → structs: the SQL behind the routes."""

from __future__ import annotations

import apsw

from runicorn_artifacts.entries import Entry


def run_artifacts(db: apsw.Connection, key: str, direction: str) -> list[Entry]:
    """The artifacts that a run has created or used, in the order of its file."""
    rows = db.execute(
        "SELECT type, name, version, size_bytes, at FROM run_artifact WHERE run = ? AND direction = ? ORDER BY position",
        (key, direction),
    )
    return [Entry(*row) for row in rows]  # type: ignore[arg-type]
