"""What the worker that does periodic work does about runs, for as long as a store is served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from runicorn.plugin import Store, remove_leftovers, remove_stale_staging
from runicorn_runs.liveness import watch_liveness


@asynccontextmanager
async def work_in_background(store: Store) -> AsyncGenerator[None]:
    """Remove what killed purges and imports have left, and watch whether running runs are alive."""
    cleaning = asyncio.create_task(asyncio.to_thread(_clean, store.root)) if store.is_leader else None
    try:
        async with watch_liveness(store):
            yield
    finally:
        if cleaning is not None:
            cleaning.cancel()
            await asyncio.gather(cleaning, return_exceptions=True)


def _clean(root: Path) -> None:
    remove_leftovers(root)
    remove_stale_staging(root)
