"""One API worker: an event loop that serves the application on a socket that somebody else has opened.

`python -m runicorn.server.worker` is how a supervisor starts one; its standard input is a pipe that ends with the
supervisor, and what it has to say goes there through another pipe (`worker_messages`).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import sys
import threading
from collections.abc import Callable, Generator

import msgspec
import uvicorn

from runicorn.errors import RunicornError
from runicorn.host import PluginHost
from runicorn.log_lines import set_up_logging
from runicorn.root import RootUnusable
from runicorn.server.app import Application, build
from runicorn.server.connection import LimitedConnection
from runicorn.server.orders import Orders
from runicorn.server.settings import ServeSettings
from runicorn.server.worker_messages import Ready, Report, encode_line

_PING_S = 20.0
_MAX_MESSAGE = 64 << 10  # what clients of WebSockets say is short, or ignored
_THREADS_S = 0.5  # after everything else is closed
_FINISH_S = 1  # how long requests may run on after the signal to stop


class WorkerSettings(msgspec.Struct, frozen=True):
    """What a supervisor tells a worker. The descriptors are inherited."""

    serve: ServeSettings
    listener: int
    reports: int
    is_leader: bool


class Server(uvicorn.Server):
    """Uvicorn, but it closes WebSockets with 1001, is gone within two seconds, and ends by returning."""

    def __init__(self, application: Application, on_ready: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                application,
                loop="auto",
                http=LimitedConnection,
                ws="websockets-sansio",
                ws_max_size=_MAX_MESSAGE,
                ws_ping_interval=_PING_S,
                ws_ping_timeout=_PING_S,
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # or `X-Forwarded-For` would be believed from every local process
                timeout_graceful_shutdown=_FINISH_S,
            )
        )
        self._application = application
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the root, then accept connections."""
        await super().startup(sockets)
        gc.freeze()  # what is there now stays: collections need not look at it
        gc.enable()
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, close WebSockets, let requests finish, leave the root."""
        for server in self.servers:
            server.close()
        self._application.serving.leave()
        await self._application.sockets.close_all()
        await super().shutdown(sockets)
        self._application.access_log.flush()
        _leave_threads_behind()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Stop on SIGTERM and SIGINT, without raising them again at the end: being stopped is a success."""
        with super().capture_signals():
            yield
            self._captured_signals.clear()


def _leave_threads_behind() -> None:
    """End the process soon, even if a thread is still in a call that nothing can interrupt (a dead SSH host, …)."""
    timer = threading.Timer(_THREADS_S, os._exit, (0,))
    timer.daemon = True
    timer.start()


def run_server(application: Application, listener: socket.socket, on_ready: Callable[[Server], None]) -> int:
    """Serve until a signal; the exit status. The root must have been prepared."""
    server = Server(application, lambda: on_ready(server))
    try:
        server.run([listener])
    except SystemExit as error:  # uvicorn's way to say that the lifespan could not start; it has logged why
        return int(error.code or 0)
    return 0


def main() -> int:
    """Run one worker of a supervisor."""
    gc.disable()  # until it has started
    settings = msgspec.json.decode(sys.argv[1], type=WorkerSettings)
    set_up_logging(settings.serve.log_level)
    reference_key = _first_line()
    try:
        host = PluginHost.load(settings.serve.selection)
        application = build(host, settings.serve, is_leader=settings.is_leader, reference_key=reference_key)
    except RunicornError as error:
        print(f"runicorn: {error}", file=sys.stderr)
        return 1

    def report(message: Report) -> None:
        with contextlib.suppress(OSError):
            os.write(settings.reports, encode_line(message))

    def ready(server: Server) -> None:
        from runicorn.server.health_route import plugins_summary

        orders = Orders(application.serving, report)
        application.serving.switch_together = orders.switch_together
        _follow(server, orders)
        report(Ready(plugins_summary(host)))

    listener = socket.socket(fileno=settings.listener)
    listener.setblocking(False)
    try:
        return run_server(application, listener, ready)
    except RootUnusable as error:
        print(f"runicorn: {error}", file=sys.stderr)
        return 1


def _first_line() -> bytes:
    """The key of references; the supervisor's orders come after it, and only once this worker serves."""
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(0, 1)):
        line += byte
    return line.rstrip()


def _follow(server: Server, orders: Orders) -> None:
    """Carry out orders until the supervisor is gone; then end, too."""
    loop = asyncio.get_running_loop()

    def read() -> None:
        data = os.read(0, 1 << 16)
        if not data:
            loop.remove_reader(0)
            server.should_exit = True
        orders.receive(data)

    loop.add_reader(0, read)


if __name__ == "__main__":
    sys.exit(main())
