"""What goes on for as long as a store is served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from runicorn.plugin import Store, remove_stale_staging
from runicorn_runs.liveness import watch_liveness


@asynccontextmanager
async def while_served(store: Store) -> AsyncGenerator[None]:
    """Remove what a crash left of an import, and watch the processes of runs."""
    async with watch_liveness(store):
        tidying = (
            asyncio.ensure_future(asyncio.to_thread(remove_stale_staging, store.root)) if store.is_leader else None
        )
        yield
        if tidying is not None:
            tidying.cancel()
