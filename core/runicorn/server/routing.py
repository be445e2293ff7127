"""Which route a request belongs to, known before the application runs: rate limits, refusals and headers depend on it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from litestar import Litestar, Router
from litestar.enums import RequestEncodingType
from litestar.exceptions import HTTPException, MethodNotAllowedException
from litestar.handlers import HTTPRouteHandler, WebsocketRouteHandler
from litestar.routes import HTTPRoute, WebSocketRoute
from litestar.types.internal_types import PathParameterDefinition
from litestar.utils import normalize_path

from runicorn.host import Plugin, claim
from runicorn.server.query_strings import QueryRules

_READING = frozenset({"GET", "HEAD", "WEBSOCKET"})

CORE = "runicorn"
"""The owner of the server's own routes, where plugins have their names."""


class Route(msgspec.Struct, frozen=True):
    """One method of one route."""

    method: str
    """`WEBSOCKET` for WebSocket routes."""
    template: str
    """`/api/runs/{run_id}`."""
    owner: Plugin | None
    query: QueryRules | None = None
    """None if the route takes no query parameters."""
    takes_json: bool = False
    has_secrets: bool = False
    """Set by `@get(…, has_secrets=True)`: the answer must not be opened by a link on another page."""
    only_reads: bool = False
    """It changes nothing: by its method, or set by `@post(…, only_reads=True)`."""
    takes_slashes: bool = False
    """Ends in a path parameter, which may hold slashes."""

    @property
    def key(self) -> str:
        """The name by which requests are counted and logged."""
        return f"{self.method} {self.template}"


class NotAllowed(msgspec.Struct, frozen=True):
    """The path exists, but not for this method; `allow` is the value of the header."""

    allow: str


class RouteTable:
    """All routes of an application, found as its own router finds them."""

    def __init__(self, app: Litestar, owners: Iterable[tuple[Plugin | None, Router]]) -> None:
        self._router = app.asgi_router
        self._routes: dict[tuple[str, str], Route] = {}
        # The application has understood its own copies of these already, which takes a tenth of its start.
        served = {(endpoint.method, endpoint.template): endpoint for endpoint in endpoints(app)}
        for owner, router in owners:
            for endpoint in endpoints(router):
                endpoint = served[endpoint.method, endpoint.template]
                self._routes[endpoint.method, _anonymous(endpoint.template)] = _route(endpoint, owner)
        self._by_template: dict[tuple[str, str], Route | None] = {}

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes.values())

    def find(self, path: str, method: str, raw_path: bytes) -> Route | NotAllowed | None:
        """The route of a request; None if its path matches none."""
        try:
            asked: Any = None if method == "WEBSOCKET" else method
            found = self._router.handle_routing(path=normalize_path(path), method=asked)
        except MethodNotAllowedException as error:
            allowed = {name.strip() for name in (error.headers or {}).get("allow", "").split(",")}
            http = sorted(name for name in allowed if name.isupper())
            return NotAllowed(", ".join(http)) if http else None
        except HTTPException:
            return None
        route = self._named(method, found[4])
        if route is not None and b"%2" in raw_path and not route.takes_slashes and b"%2f" in raw_path.lower():
            return None  # an encoded slash is data, but it has become a separator by now
        return route

    def _named(self, method: str, template: str) -> Route | None:
        key = (method, template)
        if key not in self._by_template:
            route = self._routes.get((method, _anonymous(template)))
            if route is None and method == "OPTIONS":
                route = Route(method=method, template=template, owner=None)
            self._by_template[key] = route
        return self._by_template[key]


class Endpoint(msgspec.Struct, frozen=True):
    """One method of one route, as a router knows it."""

    method: str
    template: str
    handler: HTTPRouteHandler | WebsocketRouteHandler
    takes_slashes: bool


def endpoints(router: Router) -> Iterator[Endpoint]:
    """Everything that a router serves, without the automatic answers to OPTIONS."""
    for route in router.routes:
        slashes = any(isinstance(part, PathParameterDefinition) and part.type is Path for part in route.path_components)
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                for method in sorted(str(method) for method in handler.http_methods):
                    if method != "OPTIONS":
                        yield Endpoint(method, route.path_format, handler, slashes)
        elif isinstance(route, WebSocketRoute):
            yield Endpoint("WEBSOCKET", route.path_format, route.route_handler, slashes)


def route_key(route: Endpoint | str) -> str:
    """A route without the names of its parameters, which tell nobody apart; `METHOD /path` as text means the same."""
    method, _, template = route.rpartition(" ") if isinstance(route, str) else (route.method, "", route.template)
    return f"{method} {_anonymous(template)}"


def claim_routes(owners: dict[str, str], name: str, router: Router) -> None:
    """Note the routes of a plugin. PluginCollision if another one has the same path and method already.

    Names of parameters do not count: the application would accept both and let the second win in silence.
    """
    for endpoint in endpoints(router):
        claim(owners, route_key(endpoint), name, "route")


def _anonymous(template: str) -> str:
    return "/".join("{}" if "{" in segment else segment for segment in template.split("/"))


def _route(endpoint: Endpoint, owner: Plugin | None) -> Route:
    provided = endpoint.handler.resolve_dependencies()
    signature = endpoint.handler.parsed_fn_signature.parameters
    body = signature.get("data")
    encoding = getattr(body.kwarg_definition, "media_type", RequestEncodingType.JSON) if body is not None else None
    return Route(
        method=endpoint.method,
        template=endpoint.template,
        owner=owner,
        query=QueryRules.of(signature, endpoint.template, provided, endpoint.handler.opt),
        takes_json=body is not None and encoding in (None, RequestEncodingType.JSON),
        has_secrets=bool(endpoint.handler.opt.get("has_secrets")),
        only_reads=endpoint.method in _READING or bool(endpoint.handler.opt.get("only_reads")),
        takes_slashes=endpoint.takes_slashes,
    )
