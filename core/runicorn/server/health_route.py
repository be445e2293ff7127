"""`GET /api/health`: answered from memory, whatever else the server is doing."""

from __future__ import annotations

import time
from typing import Any, Literal

import msgspec
from litestar import Request, get

from runicorn.events.past import moment_text
from runicorn.host import PluginHost
from runicorn.projection.wire import Status
from runicorn.server.etag import CacheCounters, CacheReport
from runicorn.server.health import Health
from runicorn.server.plugin_health import PluginHealth
from runicorn.server.serving import Serving
from runicorn.version import API_VERSION, __version__

_NOT_VERSIONED = ("logs", "media files", "environments of runs", "files of artifacts")


class ProjectorHealth(msgspec.Struct, frozen=True):
    """The process that brings read models level with the log."""

    state: Literal["live", "building", "busy", "starting", "down", "none"]
    """`busy`: it is there, but did not answer at once. `down`: answers are as of the moment when it ended. `none`: there is
    none, because the server shows the store as it was."""
    lag_s: float | None
    """Seconds since the oldest event that no read model has yet; null if unknown."""
    behind_streams: int | None
    """How many streams are known to have events that no read model has yet; null if unknown."""
    behind_events: int | None
    """About how many events those hold that no read model has yet; null if unknown."""
    behind_bytes: int | None
    """How many bytes of the log that is; null if unknown."""
    percent: float | None
    """While `building`: how much of the log the read models hold; null otherwise. Until then what needs them answers 503."""
    remaining: int | None
    """While `building`: streams and run directories still to be read; null otherwise."""
    restarts: int | None
    """How often it had to be started again; null in workers that do not supervise it."""
    elsewhere: bool
    """It belongs to another server with the same state directory."""


class AsOf(msgspec.Struct, frozen=True):
    """The server was started with `--as-of`: every answer is of that moment, and commands answer 409."""

    ts: float
    """Unix seconds."""
    time: str
    """The same in ISO 8601, as in the header `X-Runicorn-As-Of`."""
    not_versioned: tuple[str, ...] = _NOT_VERSIONED
    """What is answered as it is on disk now."""


class HealthReport(msgspec.Struct, frozen=True):
    """The state of the server. `status` is `degraded` when something needs attention."""

    status: Literal["ok", "degraded"]
    version: str
    """Of the API."""
    product_version: str
    timestamp: float
    """Unix seconds."""
    storage: str
    """Absolute path of the storage root."""
    cache: CacheReport
    plugins: dict[str, Health]
    projector: ProjectorHealth
    as_of: AsOf | None
    """Null for a live store."""


@get("/api/health", operation_id="Health", tags=["server"])
async def health(request: Request[Any, Any, Any], serving: Serving) -> HealthReport:
    """The state of server, storage, projector and plugins."""
    cache: CacheCounters = request.app.state.cache
    store = serving.store
    status = await store.projector_status() if store.client.connected else None  # which would wait for it
    projector = _projector(serving, status)
    failed, slow = ({}, {}) if status is None else (status.failed, status.slow)
    plugin_health: PluginHealth = request.app.state.plugin_health
    plugins = plugin_health.report(store, failed, slow)
    past = serving.past
    needs_attention = (
        (past is None and not serving.is_writable)
        or projector.state == "down"
        or any(plugin.status in ("degraded", "error") for plugin in plugins.values())
    )
    return HealthReport(
        status="degraded" if needs_attention else "ok",
        version=API_VERSION,
        product_version=__version__,
        timestamp=time.time(),
        storage=str(store.root),
        cache=cache.report(),
        plugins=plugins,
        projector=projector,
        as_of=None if past is None else AsOf(past.as_of, moment_text(past.as_of)),
    )


def _projector(serving: Serving, status: Status | None) -> ProjectorHealth:
    process = serving.projector
    if serving.past is not None:
        silent = "none"
    elif serving.store.client.connected:
        silent = "busy"
    else:
        silent = "starting" if serving.is_starting and (process is None or process.restarts == 0) else "down"
    return ProjectorHealth(
        state=silent if status is None else status.state,
        lag_s=round(status.lag_s, 3) if status is not None else None,
        behind_streams=status.behind_streams if status is not None else None,
        behind_events=status.behind_events if status is not None else None,
        behind_bytes=status.behind_bytes if status is not None else None,
        percent=round(100 * status.progress, 1) if status is not None and status.state == "building" else None,
        remaining=(
            status.behind_streams + status.unobserved_runs
            if status is not None and status.state == "building"
            else None
        ),
        restarts=process.restarts if process is not None else None,
        elsewhere=process is not None and process.state == "elsewhere",
    )


def plugins_summary(host: PluginHost) -> str:
    """One line about all plugins, for the start of the server."""
    parts = [
        plugin.name if plugin.state == "enabled" else f"{plugin.name} ({plugin.state}: {plugin.error})"
        for plugin in host.plugins
    ]
    return ", ".join(parts) or "none"
