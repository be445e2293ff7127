"""`runicorn serve`: checks what it was asked for, opens the socket, and runs the server in one or several processes."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
from collections.abc import Generator
from typing import NoReturn

import msgspec

from runicorn.archive import Limits
from runicorn.cli.progress import progress_bar
from runicorn.config import misunderstood
from runicorn.events.past import PastLog, moment_text
from runicorn.host import PluginHost
from runicorn.log_lines import set_up_logging
from runicorn.patience import patience_s
from runicorn.root import RootUnusable, check_belongs, prepare
from runicorn.server.app import build
from runicorn.server.clients import Clients
from runicorn.server.health_route import plugins_summary
from runicorn.server.listening import listen, url_of
from runicorn.server.origins import Callers, is_loopback_host
from runicorn.server.settings import ServeSettings
from runicorn.server.worker import Server, run_server
from runicorn.staleness import stale_after_s
from runicorn.store_as_of import past_models


def serve(settings: ServeSettings) -> int:
    """Serve until SIGTERM or SIGINT (status 0). RunicornError if the server cannot start."""
    Callers(settings.host, allow_hosts=settings.allow_hosts, allow_origins=settings.allow_origins)
    Clients(settings.trusted_proxies)
    set_up_logging(settings.log_level)
    _settle_environment()
    if settings.as_of is not None:
        with _past(settings, settings.as_of) as past:
            return _serve(past)
    prepare(settings.root_path, settings.state_path)
    return _serve(settings)


def _settle_environment() -> None:
    """Warn of what the environment says in vain, once: the processes beside this one inherit it without that."""
    stale_after_s()
    patience_s()
    Limits.configured()
    for variable in misunderstood():
        os.environ.pop(variable, None)


def _serve(settings: ServeSettings) -> int:
    if settings.workers > 1 or settings.reload:
        return _serve_with_workers(settings)
    host = PluginHost.load(settings.selection)
    application = build(host, settings)
    listener = listen(settings.host, settings.port)
    _warn(settings)

    def ready(_: Server) -> None:
        _announce(settings, url_of(listener), plugins_summary(host))

    return run_server(application, listener, ready)


@contextlib.contextmanager
def _past(settings: ServeSettings, as_of: float) -> Generator[ServeSettings]:
    """The settings with which the store is shown as it was. Writes nothing below the root, nor into its state directory."""
    if not settings.root_path.is_dir():
        raise RootUnusable(f"There is no storage root at {settings.root}. Name one with --storage.")
    check_belongs(settings.root_path, settings.state_path)
    log = PastLog(settings.root_path, settings.state_path, as_of)
    before = signal.signal(signal.SIGTERM, _end)  # or the directory would stay behind
    with contextlib.ExitStack() as stack:
        with progress_bar(f"Building the store as of {moment_text(as_of)}", log.size) as progress:
            host = PluginHost.load(settings.selection)
            models_dir = stack.enter_context(past_models(log, host, progress))
        signal.signal(signal.SIGTERM, before)
        yield msgspec.structs.replace(settings, models_dir=str(models_dir))


def _end(*_: object) -> NoReturn:
    sys.exit(0)


def _serve_with_workers(settings: ServeSettings) -> int:
    from runicorn.server.workers import Supervisor

    gc.freeze()
    gc.enable()
    listener = listen(settings.host, settings.port)
    _warn(settings)

    def ready(plugins: str) -> None:
        _announce(settings, url_of(listener), plugins)

    async def run() -> int:
        return await Supervisor(settings, listener, ready).run()

    return asyncio.run(run())


def _announce(settings: ServeSettings, url: str, plugins: str) -> None:
    print(f"Storage root: {settings.root}")
    if settings.as_of is not None:
        print(f"As of: {moment_text(settings.as_of)}. Commands are refused; logs and other files are as they are now.")
    print(f"Plugins: {plugins}")
    print(f"Runicorn is listening on {url}", flush=True)


def _warn(settings: ServeSettings) -> None:
    if not is_loopback_host(settings.host):
        print(
            f"Warning: {settings.host} can be reached from other machines, and Runicorn has no authentication: "
            "everybody who can connect may read and delete runs.",
            file=sys.stderr,
        )
