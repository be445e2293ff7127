"""Conditional requests: a client that has the current answer gets 304 and no body.

An ETag here is made of a counter that moves when an answer changes, so it costs no encoding to know that nothing is new.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from litestar.connection import Request
    from litestar.response import Response

_MAX_RESOURCES = 100


def weak_etag(*parts: object) -> str:
    """An ETag for answers that mean the same when all `parts` are equal; quotes and controls must not occur in them."""
    return 'W/"' + "-".join(str(part) for part in parts) + '"'


def strong_etag(*parts: object) -> str:
    """An ETag for answers that are the same byte for byte when all `parts` are equal."""
    return '"' + "-".join(str(part) for part in parts) + '"'


def matches(if_none_match: str | None, etag: str) -> bool:
    """Whether the header `If-None-Match` (a list, or `*`) names `etag`; strong and weak tags compare alike."""
    if if_none_match is None:
        return False
    wanted = etag.removeprefix("W/")
    tags = (tag.strip() for tag in if_none_match.split(","))
    return any(tag == "*" or tag.removeprefix("W/") == wanted for tag in tags)


class CacheCounters:
    """How often clients' copies of metrics were still good: `hits`, and how often an answer was made: `misses`.

    `size` is the number of answers (at most 100, by use) that clients were given an ETag for and may hold. Nothing is kept
    here: answers are read from columns in a few milliseconds (ADR 22).
    """

    def __init__(self) -> None:
        self.hits = 0
        self.misses = 0
        self._answers: OrderedDict[str, None] = OrderedDict()

    def count(self, resource: str, *, hit: bool) -> None:
        """Note one request for `resource`."""
        if hit:
            self.hits += 1
        else:
            self.misses += 1
        self._answers[resource] = None
        self._answers.move_to_end(resource)
        if len(self._answers) > _MAX_RESOURCES:
            self._answers.popitem(last=False)

    def report(self) -> CacheReport:
        """The numbers as `/api/health` shows them."""
        asked = self.hits + self.misses
        return CacheReport(
            enabled=True,
            hit_rate=f"{100 * self.hits / asked if asked else 0:.1f}%",
            hits=self.hits,
            misses=self.misses,
            size=len(self._answers),
            max_size=_MAX_RESOURCES,
        )


class CacheReport(msgspec.Struct, frozen=True):
    """The metrics cache of one worker."""

    enabled: bool
    hit_rate: str
    """A percentage with one decimal, such as `54.5%`."""
    hits: int
    misses: int
    size: int
    max_size: int


async def conditional(
    request: Request[Any, Any, Any],
    etag: str,
    answer: Callable[[], Any],
    *,
    counted: bool = False,
) -> Response[Any]:
    """The response to a GET: 304 if the client has the answer with this `etag`, else what `answer()` returns.

    `answer` may be a coroutine function, and may return a finished `Response` (to set a media type or headers). With
    `counted` the request is part of the metrics cache's numbers in `/api/health`.
    """
    from litestar.response import Response  # not at the top: plugins import this module on the command line, too

    hit = matches(request.headers.get("if-none-match"), etag)
    if counted:
        counters: CacheCounters = request.app.state.cache
        counters.count(f"{request.scope['path']}?{request.scope['query_string'].decode('latin-1')}", hit=hit)
    headers = {"etag": etag, "cache-control": "no-cache"}
    if hit:
        return Response(None, status_code=304, headers=headers)
    content = answer()
    if inspect.isawaitable(content):
        content = await content
    if isinstance(content, Response):
        for name, value in headers.items():
            content.set_header(name, value)
        return content
    return (request.app.response_class or Response)(content, headers=headers)
