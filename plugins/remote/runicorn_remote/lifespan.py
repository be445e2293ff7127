"""Before and after a storage root is served: no remote runs are shown in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from runicorn.plugin import Store
from runicorn_remote.smart.attaching import detach_all


@asynccontextmanager
async def nothing_attached(store: Store) -> AsyncGenerator[None]:
    """A killed process may have left a cache attached: every server starts in local mode."""
    if store.is_leader:
        await asyncio.to_thread(detach_all, store.root)
    try:
        yield
    finally:
        if store.is_leader:
            await asyncio.to_thread(detach_all, store.root)
