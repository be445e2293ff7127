"""`/api/runs/{run_id}/logs/ws`: the live log of a run, as a WebSocket."""

from __future__ import annotations

from pathlib import Path

from litestar import Response, get, websocket
from litestar.params import FromPath

from runicorn.plugin import RunNotFound, Store, find_run, limited_client
from runicorn_runs import queries
from runicorn_runs.logs.stream import LogStreams
from runicorn_runs.logs.websocket import serve_socket
from runicorn_runs.sockets import Socket

PATH = "/api/runs/{run_id:str}/logs/ws"


@websocket(PATH)
async def run_log(socket: Socket, run_id: FromPath[str], store: Store) -> None:
    """The log of a run, line by line, for as long as the client stays."""
    await serve_socket(store.own(streams_of), socket, run_id, counted_as=limited_client(socket))


@get(PATH, sync_to_thread=False, status_code=426, summary="Live log (WebSocket)")
def not_upgraded(run_id: FromPath[str]) -> Response[dict[str, str]]:
    """Open this path as a WebSocket: text frames, one log line each, first the last 10 000.

    `?offset=BYTES` starts at that byte of `logs.txt` instead; beyond its end, and for a file that appears later, 0.
    """
    return Response(
        {"detail": "This path is a WebSocket: connect with ws:// or wss://"},
        status_code=426,
        headers={"Upgrade": "websocket"},
    )


def streams_of(store: Store) -> LogStreams:
    """The log streams of a store in this worker."""
    return LogStreams(StoredRuns(store))


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
