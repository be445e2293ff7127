"""From a run's id to its key, its path below the root."""

from __future__ import annotations

from runicorn.plugin import RunNotFound, Store
from runicorn_runs import queries


async def find_run(store: Store, run_id: str) -> str:
    """The key of a listed run; also of one that was made a moment ago. RunNotFound if there is none."""
    model = store.model("runs")
    try:
        return model.query(queries.run_key, run_id)
    except RunNotFound:
        await store.discover()
        return model.query(queries.run_key, run_id)
