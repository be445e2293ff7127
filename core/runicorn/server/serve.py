"""`runicorn serve`: checks what it was asked for, opens the socket, and runs the server in one or several processes."""

from __future__ import annotations

import asyncio
import sys

from runicorn.host import PluginHost
from runicorn.root import prepare
from runicorn.server.access_log import set_up_logging
from runicorn.server.app import build
from runicorn.server.health_route import plugins_summary
from runicorn.server.listening import listen, url_of
from runicorn.server.origins import is_loopback_host
from runicorn.server.settings import ServeSettings
from runicorn.server.worker import Server, run_server


def serve(settings: ServeSettings) -> int:
    """Serve until SIGTERM or SIGINT (status 0). RunicornError if the server cannot start."""
    set_up_logging(settings.log_level)
    prepare(settings.root_path, settings.state_path)
    if settings.workers > 1 or settings.reload:
        return _serve_with_workers(settings)
    host = PluginHost.load(settings.selection)
    application = build(host, settings)
    listener = listen(settings.host, settings.port)
    _warn(settings)

    def ready(_: Server) -> None:
        _announce(settings, url_of(listener), plugins_summary(host))

    return run_server(application, listener, ready)


def _serve_with_workers(settings: ServeSettings) -> int:
    from runicorn.server.workers import Supervisor

    listener = listen(settings.host, settings.port)
    _warn(settings)

    def ready(plugins: str) -> None:
        _announce(settings, url_of(listener), plugins)

    async def run() -> int:
        return await Supervisor(settings, listener, ready).run()

    return asyncio.run(run())


def _announce(settings: ServeSettings, url: str, plugins: str) -> None:
    print(f"Storage root: {settings.root}")
    print(f"Plugins: {plugins}")
    print(f"Runicorn is listening on {url}", flush=True)


def _warn(settings: ServeSettings) -> None:
    if not is_loopback_host(settings.host):
        print(
            f"Warning: {settings.host} can be reached from other machines, and Runicorn has no authentication: "
            "everybody who can connect may read and delete runs.",
            file=sys.stderr,
        )
