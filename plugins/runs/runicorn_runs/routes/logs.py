"""The live log of a run, wired to the read model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from litestar import WebSocket

from runicorn.plugin import RunNotFound, Store, find_run, limited_client
from runicorn_runs import queries
from runicorn_runs.logs.stream import LogStreams
from runicorn_runs.logs.websocket import log_routes


class StoredRuns:
    """What log streams ask about runs."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def find_run(self, run_id: str, /) -> Path | None:
        """The directory of a listed run."""
        try:
            return self._store.root / await find_run(self._store, run_id)
        except RunNotFound:
            return None

    def run_ended(self, run_id: str, /) -> bool:
        """Whether the run is not `running` (any more)."""
        return not self._store.model("runs").query(queries.is_running, run_id)


def streams_of(store: Store) -> LogStreams:
    """The log streams of a store in this worker."""
    return LogStreams(StoredRuns(store))


def _streams(socket: WebSocket[Any, Any, Any]) -> LogStreams:
    return cast(Store, socket.app.state.serving.store).own(streams_of)


run_log = log_routes(_streams, limited_client)
