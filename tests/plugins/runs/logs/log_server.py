"""A real server with nothing but the log route: `python log_server.py ROOT` prints its port.

Every directory in ROOT is a run, unless it holds `.deleted`; a run with a file `.ended` has ended. `GET /debug` says what
the process holds.
"""

from __future__ import annotations

import asyncio
import os
import socket as sockets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from litestar import Litestar, get, websocket
from litestar.params import FromPath

from runicorn_runs.logs.stream import LogStreams
from runicorn_runs.logs.websocket import serve_socket
from runicorn_runs.routes.logs import PATH, not_upgraded
from runicorn_runs.sockets import Socket


class Directories:
    """Runs that are directories."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def find_run(self, run_id: str, /) -> Path | None:
        if run_id == "bug":
            raise ZeroDivisionError("the text of a bug")
        directory = self._root / run_id
        return directory if run_id in os.listdir(self._root) and not (directory / ".deleted").exists() else None

    def run_ended(self, run_id: str, /) -> bool:
        return (self._root / run_id / ".ended").exists()


@get("/debug", sync_to_thread=False)
def debug() -> dict[str, Any]:
    links = [os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
    opened = [os.readlink(link) for link in links if os.path.lexists(link)]
    return {
        "tasks": sorted(task.get_name() for task in asyncio.all_tasks() if "log-" in task.get_name()),
        "task_count": len(asyncio.all_tasks()),
        "logs": sorted(path for path in opened if "logs.txt" in path),
        "sockets": sum(path.startswith("socket:") for path in opened),
        "threads": len(os.listdir("/proc/self/task")),
        "cpu_s": sum(os.times()[:2]),
    }


class Server(uvicorn.Server):
    """Closes the log streams before uvicorn closes connections its own way."""

    streams: LogStreams

    async def shutdown(self, sockets: list[sockets.socket] | None = None) -> None:
        await self.streams.close()
        await super().shutdown(sockets)


def main(root: Path, limited: bool) -> None:
    listener = sockets.create_server(("127.0.0.1", 0))

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        server.streams = app.state.streams = LogStreams(Directories(root))
        print(listener.getsockname()[1], flush=True)
        yield

    @websocket(PATH)
    async def run_log(socket: Socket, run_id: FromPath[str]) -> None:
        counted_as = socket.client.host if limited and socket.client else None
        await serve_socket(socket.app.state.streams, socket, run_id, counted_as=counted_as)

    app = Litestar([run_log, not_upgraded, debug], lifespan=[lifespan], openapi_config=None)
    server = Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=3))
    server.run([listener])


if __name__ == "__main__":
    main(Path(sys.argv[1]), limited="--limited" in sys.argv)
