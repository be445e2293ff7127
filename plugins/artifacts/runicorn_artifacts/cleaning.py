"""What was left in the staging area by killed processes, and by clients that never came back, is removed by the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from runicorn.plugin import Store
from runicorn_artifacts.lookup import ARTIFACTS
from runicorn_artifacts.staging import STAGING, remove_old

_EVERY_S = 3600.0


@asynccontextmanager
async def staging_kept_clean(store: Store) -> AsyncGenerator[None]:
    """Look once an hour, in one worker, beginning with the start."""
    if not store.is_leader:
        yield
        return
    task = asyncio.create_task(_clean(store))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _clean(store: Store) -> None:
    while True:
        await asyncio.to_thread(remove_old, store.root / ARTIFACTS / STAGING)
        await asyncio.sleep(_EVERY_S)
