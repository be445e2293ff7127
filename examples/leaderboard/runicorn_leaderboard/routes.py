"""HTTP ↔ queries."""

from __future__ import annotations

import apsw
import msgspec
from litestar import get
from litestar.params import FromPath

from runicorn.plugin import NotFound, Store


class Place(msgspec.Struct, frozen=True):
    """One line of the leaderboard."""

    place: int
    run: str
    best: float


@get("/api/leaderboard/{project:str}", operation_id="leaderboard")
async def leaderboard(project: FromPath[str], store: Store) -> list[Place]:
    """The ten best runs of a project."""
    places = store.model("leaderboard").query(best_of, project)
    if not places:
        raise NotFound(f"No run of {project[:100]} has a best value yet")
    return places


def best_of(db: apsw.Connection, project: str) -> list[Place]:
    rows = db.execute("SELECT run, best FROM standing WHERE project = ? ORDER BY best DESC, run LIMIT 10", (project,))
    return [Place(place, str(run), float(best)) for place, (run, best) in enumerate(rows, 1)]
