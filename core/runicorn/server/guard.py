"""The outermost layer: who may call, how often, and the headers that every answer carries.

It is plain ASGI around the application, because the framework's own middleware does not run for 404 and 405. What it lets
through has a known route, an allowed origin and a place in the client's rate limit.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from litestar.types import ASGIApp, Receive, Scope, Send
from litestar.utils import normalize_path

from runicorn.errors import BadInput, NotFound, RunicornError, Unavailable
from runicorn.events.past import moment_text
from runicorn.host import describe
from runicorn.patience import TookTooLong
from runicorn.server.access_log import AccessLog
from runicorn.server.clients import Clients, remember_client
from runicorn.server.error_budget import ErrorBudget
from runicorn.server.errors import NOT_A_JSON_OBJECT, ErrorBody, report
from runicorn.server.exchange import Exchange, Headers, refuse_handshake
from runicorn.server.origins import Callers
from runicorn.server.rate_limit_table import Limit
from runicorn.server.rate_limits import RateLimiter, Verdict
from runicorn.server.routing import NotAllowed, Route, RouteTable
from runicorn.server.sockets import OpenSockets
from runicorn.store_as_of import ReadOnlyPast

logger = logging.getLogger("runicorn.server")

AS_OF_HEADER = b"X-Runicorn-As-Of"
"""In every answer of a server that shows a store as it was: the moment, in ISO 8601."""

_UNMATCHED = "no route"
_FOREIGN = "refused"
_PREFLIGHT: Headers = [
    (b"access-control-allow-methods", b"GET, POST, PUT, PATCH, DELETE, OPTIONS"),
    (b"access-control-allow-headers", b"content-type"),
    (b"access-control-max-age", b"600"),
]


class Guard:
    """An ASGI application around `api` (all routes) and `site` (what is no route and not below `/api`)."""

    def __init__(
        self,
        api: ASGIApp,
        site: ASGIApp,
        *,
        routes: RouteTable,
        callers: Callers,
        clients: Clients,
        limiter: RateLimiter,
        access_log: AccessLog,
        sockets: OpenSockets,
        budget: ErrorBudget,
        as_of: float | None = None,
    ) -> None:
        self._api = api
        self._site = site
        self._routes = routes
        self._callers = callers
        self._clients = clients
        self._limiter = limiter
        self._access_log = access_log
        self._sockets = sockets
        self._budget = budget
        self._past = None if as_of is None else ReadOnlyPast(as_of)
        self._as_of_headers: Headers = [] if as_of is None else [(AS_OF_HEADER, moment_text(as_of).encode())]
        self._limits: dict[str, Limit] = {}
        names = limiter.table.settings.custom_headers
        self._limit_header = names.rate_limit_header.encode()
        self._remaining_header = names.rate_limit_remaining_header.encode()
        self._reset_header = names.rate_limit_reset_header.encode()
        exposed = (
            self._limit_header,
            self._remaining_header,
            self._reset_header,
            b"Retry-After",
            b"Content-Disposition",
            *(name for name, _ in self._as_of_headers),
        )
        self._expose = (b"access-control-expose-headers", b", ".join(exposed))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection."""
        if scope["type"] == "http":
            await self._answer(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._open_socket(scope, receive, send)
        else:
            await self._api(scope, receive, send)

    async def _answer(self, scope: Any, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        exchange = Exchange(send)
        path: str = scope["path"]
        client = self._client(scope)
        where = path
        try:
            route = self._routes.find(path, scope["method"], scope.get("raw_path", b""))
            # What a plugin serves elsewhere changes things just as well: the rules for /api hold for it, too.
            if _is_api(path) or isinstance(route, Route):
                where = await self._answer_api(scope, receive, exchange, client, route)
            else:
                where = await self._answer_site(scope, receive, exchange)
        except (Exception, SystemExit) as error:  # the last place where a bug can still become an answer
            report(error, f"{scope['method']} {where}")
            if not exchange.status:
                await exchange.refuse(RunicornError("Internal Server Error"), scope["method"])
        finally:
            self._access_log.record(
                scope["method"], where, exchange.status or 499, time.perf_counter() - started, client
            )

    async def _answer_site(self, scope: Any, receive: Receive, exchange: Exchange) -> str:
        path: str = scope["path"]
        exchange.headers = [(b"x-content-type-options", b"nosniff"), *self._as_of_headers]
        refusal = self._callers.bad_host(dict(scope["headers"]))
        if refusal is not None:
            await exchange.refuse(refusal, scope["method"])
            return path
        await self._site(scope, receive, exchange.send)
        return path

    async def _answer_api(
        self, scope: Any, receive: Receive, exchange: Exchange, client: str, route: Route | NotAllowed | None
    ) -> str:
        method: str = scope["method"]
        headers: dict[bytes, bytes] = dict(scope["headers"])
        exchange.headers = self._common_headers(headers)
        matched = route if isinstance(route, Route) else None
        refusal = self._callers.bad_host(headers) or self._callers.foreign(
            headers, method, has_secrets=matched is not None and matched.has_secrets
        )
        where = matched.template if matched is not None else str(scope["path"])
        if method == "OPTIONS" and b"access-control-request-method" in headers:
            if refusal is None and self._callers.allowed_origin(headers) is None:
                refusal = self._callers.foreign({b"origin": b"null"}, method)
            if refusal is None:
                exchange.headers = exchange.headers + _PREFLIGHT
                await exchange.finish(204, b"")
            else:
                await exchange.refuse(refusal, method)
            return where
        verdict = self._verdict(client, method, matched, refused=refusal is not None)
        exchange.headers += self._rate_headers(verdict)
        if not verdict.allowed:
            exchange.headers.append((b"retry-after", b"%d" % verdict.reset))
            await exchange.body(429, ErrorBody(detail="Rate limit exceeded", retry_after=verdict.reset), method)
            return where
        if isinstance(route, NotAllowed) and refusal is None:
            exchange.headers.append((b"allow", route.allow.encode()))
            await exchange.body(405, ErrorBody(detail="Method Not Allowed"), method)
            return where
        refusal = refusal or self._not_then(matched) or self._off(matched) or _unacceptable(scope, matched, headers)
        if refusal is not None:
            await exchange.refuse(refusal, method)
            return where
        remember_client(scope, client)
        await self._call(matched, scope, receive, exchange)
        return where

    async def _open_socket(self, scope: Any, receive: Receive, send: Send) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        route = self._routes.find(scope["path"], "WEBSOCKET", scope.get("raw_path", b""))
        refusal = self._callers.bad_host(headers) or self._callers.foreign(headers, "WEBSOCKET")
        if refusal is None and not isinstance(route, Route):
            refusal = NotFound("Not Found")
        if refusal is None and isinstance(route, Route):
            refusal = _disabled(route) or self._off(route)
        if refusal is not None:
            await refuse_handshake(scope, receive, send, refusal)
            return
        remember_client(scope, self._client(scope))
        try:
            await self._sockets.run(self._api, scope, receive, send)
        except (Exception, SystemExit) as error:
            self._note(route, error)
            raise
        except TookTooLong as error:
            self._note(route, error)

    async def _call(self, route: Route | None, scope: Any, receive: Receive, exchange: Exchange) -> None:
        """Have the application answer; what goes wrong in a plugin's route is charged to its budget."""
        try:
            await self._api(scope, receive, exchange.send)
        except (Exception, SystemExit) as error:
            self._note(route, error)
            raise
        except TookTooLong as error:
            self._note(route, error)
            if not exchange.status:
                await exchange.refuse(Unavailable("This route took too long, and held up all others"), scope["method"])
        else:
            if exchange.status == RunicornError.status and isinstance(route, Route):
                self._budget.failed(route, "it keeps answering 500; the log says why")

    def _note(self, route: object, error: BaseException) -> None:
        if not isinstance(route, Route):
            return
        if isinstance(error, TookTooLong):
            self._budget.interrupted(route, str(error))
        else:
            self._budget.failed(route, describe(error))

    def _off(self, route: Route | None) -> RunicornError | None:
        return None if route is None else self._budget.refusal(route)

    def _not_then(self, route: Route | None) -> RunicornError | None:
        """Why a route is not for a store that is shown as it was: it may change something."""
        return None if self._past is None or route is None or route.only_reads else self._past

    def _client(self, scope: Any) -> str:
        peer = scope.get("client")
        forwarded = next((value for name, value in scope["headers"] if name == b"x-forwarded-for"), None)
        return self._clients.key(peer[0] if peer else "local", forwarded)

    def _common_headers(self, headers: dict[bytes, bytes]) -> Headers:
        common = [(b"x-content-type-options", b"nosniff"), (b"vary", b"Origin"), *self._as_of_headers]
        origin = self._callers.allowed_origin(headers)
        if origin is not None:
            common += [(b"access-control-allow-origin", origin), self._expose]
        return common

    def _verdict(self, client: str, method: str, route: Route | None, *, refused: bool) -> Verdict:
        # A page that may not call must not use up what its visitor may do here, either.
        key = _FOREIGN if refused else _UNMATCHED if route is None else route.key
        limit = self._limits.get(key)
        if limit is None:
            table = self._limiter.table
            known = route is not None and not refused
            limit = self._limits[key] = table.limit(method, route.template) if known and route else table.unmatched
        return self._limiter.peek(client, key, limit) if method == "OPTIONS" else self._limiter.hit(client, key, limit)

    def _rate_headers(self, verdict: Verdict) -> Headers:
        return [
            (self._limit_header, b"%d" % verdict.limit),
            (self._remaining_header, b"%d" % verdict.remaining),
            (self._reset_header, b"%d" % verdict.reset),
        ]


def _is_api(path: str) -> bool:
    # As the application's router sees it: `//api/runs` is a route below /api, and must not escape the rules for it.
    path = normalize_path(path)
    return path == "/api" or path.startswith("/api/")


def _unacceptable(scope: Any, route: Route | None, headers: dict[bytes, bytes]) -> RunicornError | None:
    """Why a request that may be made is still refused; rewrites its query string otherwise."""
    if route is None:
        return NotFound("Not Found")
    disabled = _disabled(route)
    if disabled is not None:
        return disabled
    if route.takes_json and not _is_json(headers.get(b"content-type", b"")):
        return BadInput(NOT_A_JSON_OBJECT)
    if route.query is not None and (scope["query_string"] or route.query.required):
        try:
            scope["query_string"] = route.query.apply(scope["query_string"])
        except BadInput as error:
            return error
    return None


def _disabled(route: Route) -> RunicornError | None:
    if route.owner is None or route.owner.state == "enabled":
        return None
    return Unavailable(f"The plugin {route.owner.name} is not available")


def _is_json(content_type: bytes) -> bool:
    media_type = content_type.partition(b";")[0].strip().lower()
    return media_type == b"application/json" or (
        media_type.startswith(b"application/") and media_type.endswith(b"+json")
    )
