"""`GET /api/environment/{run_id}`."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from litestar import get
from litestar.params import FromPath

from runicorn.plugin import Store, find_run
from runicorn_runs.environment import stored_environment


class RunEnvironment(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a run ran on: packages, git commit, GPUs, ….; empty if the file is damaged, left out if there is none."""

    available: bool
    environment: dict[str, Any] | None = None


@get("/api/environment/{run_id:str}", operation_id="run_environment")
async def run_environment(run_id: FromPath[str], store: Store) -> RunEnvironment:
    """The environment in which a run was started."""
    directory = store.root / await find_run(store, run_id)
    environment = await asyncio.to_thread(stored_environment, directory)
    return RunEnvironment(environment is not None, environment)
