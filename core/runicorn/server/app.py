"""Builds the application: the routes of all plugins behind the guard."""

from __future__ import annotations

import warnings
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.di import Provide
from litestar.exceptions import HTTPException, LitestarWarning
from litestar.types import ASGIApp, Receive, Scope, Send

from runicorn.errors import StorageUnavailable
from runicorn.events.actor import acting
from runicorn.host import Plugin, PluginHost
from runicorn.patience import BUILT_IN
from runicorn.server.access_log import AccessLog
from runicorn.server.clients import Clients
from runicorn.server.error_budget import ErrorBudget
from runicorn.server.errors import answer_exception
from runicorn.server.etag import CacheCounters
from runicorn.server.guard import Guard
from runicorn.server.health_route import health
from runicorn.server.loop_watch import LoopWatch
from runicorn.server.openapi import openapi_config, openapi_document
from runicorn.server.origins import Callers
from runicorn.server.plugin_health import PluginHealth
from runicorn.server.rate_limit_table import CORE_LIMITS, LimitTable, load_limit_file
from runicorn.server.rate_limits import RateLimiter
from runicorn.server.responses import JsonResponse
from runicorn.server.routing import CORE, RouteTable, claim_routes, endpoints, route_key
from runicorn.server.serving import Past, Serving
from runicorn.server.settings import ServeSettings
from runicorn.server.site import Site, front_end_directory
from runicorn.server.sockets import OpenSockets

MAX_BODY = 1 << 20
"""Bytes of a request body; a handler may set its own `request_max_body_size`."""


class Application:
    """The ASGI application of one worker, with what the process around it needs."""

    def __init__(self, asgi: ASGIApp, serving: Serving, sockets: OpenSockets, access_log: AccessLog) -> None:
        self._asgi = asgi
        self.serving = serving
        self.sockets = sockets
        self.access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection."""
        if scope["type"] != "http":  # WebSockets are closed by a switch of the root, and hold up nothing
            with acting("http" if scope["type"] == "websocket" else "server"):
                await self._asgi(scope, receive, send)
            return
        with self.serving.request(), acting("http"):
            await self._asgi(scope, receive, send)


def build(
    host: PluginHost, settings: ServeSettings, *, is_leader: bool = True, reference_key: bytes | None = None
) -> Application:
    """The application for `settings`, with the routes of the host's plugins.

    `reference_key` is the same in all workers of a server: references to saved secrets are made with it. PluginCollision
    if two plugins have the same route or event type; BadInput if a setting cannot be understood.
    """
    serving = Serving(
        host,
        settings.root_path,
        settings.state_path,
        is_leader=is_leader,
        log_level=settings.log_level,
        reference_key=reference_key,
        past=None if settings.as_of is None else Past(settings.as_of, Path(settings.models_dir)),
    )
    sockets, access_log, cache = OpenSockets(), AccessLog(enabled=_logs_requests(settings)), CacheCounters()
    serving.on_switch.append(lambda _: sockets.close_all())
    host.unique("event_types", lambda payload: payload.event_type, "event type")
    routers = _routers(host)
    limiter = _limiter(host, settings, routers)
    budget, watch = ErrorBudget(), LoopWatch(host)
    litestar = _litestar(routers, serving, watch, _state(serving, cache, limiter, PluginHealth(host, budget, watch)))
    guard = Guard(
        litestar,
        Site(lambda: openapi_document(litestar), front_end_directory()),
        routes=RouteTable(litestar, routers),
        callers=Callers(settings.host, allow_hosts=settings.allow_hosts, allow_origins=settings.allow_origins),
        clients=Clients(settings.trusted_proxies),
        limiter=limiter,
        access_log=access_log,
        sockets=sockets,
        budget=budget,
        as_of=settings.as_of,
    )
    return Application(guard, serving, sockets, access_log)


def _state(serving: Serving, cache: CacheCounters, limiter: RateLimiter, plugin_health: PluginHealth) -> State:
    return State({"serving": serving, "cache": cache, "rate_limiting": limiter.enabled, "plugin_health": plugin_health})


def _litestar(
    routers: list[tuple[Plugin | None, Router]], serving: Serving, watch: LoopWatch, state: State
) -> Litestar:
    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncGenerator[None]:
        watch.watch()
        try:
            await serving.start()
            yield
        finally:
            await serving.stop()
            watch.end()

    return _application([router for _, router in routers], serving, lifespan=[lifespan], state=state)


def _application(routers: list[Router], serving: Serving | None, **more: Any) -> Litestar:
    """The framework's application. Without a `serving` only its routes can be looked at."""

    def served() -> Serving:
        if serving is None:
            raise StorageUnavailable
        return serving

    with warnings.catch_warnings():
        # The framework wants dependencies marked; to plugins, `store: Store` alone is the documented way.
        warnings.filterwarnings("ignore", "(?s).*Inferred dependency field", DeprecationWarning)
        return Litestar(
            routers,
            dependencies={"store": _provide(lambda: served().store), "serving": _provide(served)},
            exception_handlers={Exception: answer_exception, HTTPException: answer_exception},
            logging_config=None,
            openapi_config=openapi_config(),
            request_max_body_size=MAX_BODY,
            response_class=JsonResponse,
            **more,
        )


def _provide(value: Callable[[], Any]) -> Provide:
    return Provide(value, sync_to_thread=False)


def plugin_routers(host: PluginHost) -> list[tuple[Plugin, Router]]:
    """The routes of every plugin that has any; a plugin whose routes cannot be understood is disabled."""
    routers: list[tuple[Plugin, Router]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LitestarWarning)
        for plugin, handlers in host.collect("routes"):
            with host.disabled_if_it_fails(plugin, "routes"):
                if plugin.name not in BUILT_IN:
                    _try(Router("/", route_handlers=deepcopy(handlers), tags=[plugin.name]))
                routers.append((plugin, Router("/", route_handlers=handlers, tags=[plugin.name])))
    return routers


def _try(router: Router) -> None:
    """Have the framework understand and describe these routes, alone: it would raise whatever is wrong with them later."""
    openapi_document(_application([router], None))


def _routers(host: PluginHost) -> list[tuple[Plugin | None, Router]]:
    core = Router("/", route_handlers=[health])
    routers: list[tuple[Plugin | None, Router]] = [(None, core), *plugin_routers(host)]
    owners: dict[str, str] = {}
    for plugin, router in routers:
        claim_routes(owners, CORE if plugin is None else plugin.name, router)
    return routers


def _limiter(host: PluginHost, settings: ServeSettings, routers: list[tuple[Plugin | None, Router]]) -> RateLimiter:
    limits: dict[str, int] = dict(CORE_LIMITS)
    own = {plugin.name: {route_key(endpoint) for endpoint in endpoints(router)} for plugin, router in routers if plugin}
    for plugin, contributed in host.collect("rate_limits"):
        foreign = [key for key in contributed if route_key(key) not in own.get(plugin.name, ())]
        if foreign and plugin.name not in BUILT_IN:
            host.fail(plugin, f"rate_limits: {foreign[0]} is no route of this plugin")
        else:
            limits.update(contributed)
    return RateLimiter(LimitTable(load_limit_file(), limits), enabled=settings.rate_limit)


def _logs_requests(settings: ServeSettings) -> bool:
    return settings.log_level.lower() in ("debug", "info")
