"""How many requests a client may make to a route: built-in numbers, plugins' numbers, the user's `rate_limits.json`.

Built-in and plugins' entries name one route each. The user's entries cover a route and everything below it, and beat them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import msgspec

from runicorn.config import user_config_dir
from runicorn.errors import BadInput
from runicorn.files import parse_json
from runicorn.server.wrong_fields import found_wrong

logger = logging.getLogger("runicorn.server")

CORE_LIMITS: Mapping[str, int] = {"GET /api/health": 240}
"""Requests per 60 s to the routes of the server itself; plugins bring those of theirs."""


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """At most `max_requests` within any `window_seconds`, and at most `burst_size` within any one second."""

    max_requests: int = 60
    window_seconds: int = 60
    burst_size: int | None = None
    description: str = ""

    def __post_init__(self) -> None:
        for name in ("max_requests", "window_seconds", "burst_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1")


class HeaderNames(msgspec.Struct, frozen=True):
    """The names of the three response headers."""

    rate_limit_header: str = "X-RateLimit-Limit"
    rate_limit_remaining_header: str = "X-RateLimit-Remaining"
    rate_limit_reset_header: str = "X-RateLimit-Reset"

    def __post_init__(self) -> None:
        for name in (self.rate_limit_header, self.rate_limit_remaining_header, self.rate_limit_reset_header):
            if not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
                raise ValueError(f"not a header name: {name!r}")


class LimitSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for all routes."""

    enable_rate_limiting: bool = True
    log_violations: bool = True
    whitelist_localhost: bool = False
    custom_headers: HeaderNames = HeaderNames()


class LimitFile(msgspec.Struct, frozen=True, kw_only=True):
    """`rate_limits.json` as users write it."""

    default: Limit = Limit(description="Default")
    endpoints: dict[str, Limit] = {}
    settings: LimitSettings = LimitSettings()

    def __post_init__(self) -> None:
        for key in self.endpoints:
            check_endpoint(key)


class LimitTable:
    """Picks the limit of a route."""

    def __init__(self, file: LimitFile | None = None, built_in: Mapping[str, int] | None = None) -> None:
        self.file = file or LimitFile()
        self.settings = self.file.settings
        self._keys = sorted(built_in or {})
        self._built_in = {_route_key(key): count for key, count in (built_in or {}).items()}
        self._entries = [(_segments(key), limit) for key, limit in self.file.endpoints.items()]

    def limit(self, method: str, template: str) -> Limit:
        """The limit of `method` on the route `template` (`/api/runs/{run_id}`)."""
        route = _split(template)
        best: tuple[int, bool] = (-1, False)
        chosen: Limit | None = None
        for (entry_method, segments), limit in self._entries:
            applies = entry_method in (None, method) and route[: len(segments)] == segments
            rank = (len(segments), entry_method is not None)
            if applies and rank > best:
                best, chosen = rank, limit
        if chosen is not None:
            return chosen
        built_in = self._built_in.get((method, route))
        return Limit(max_requests=built_in) if built_in is not None else self.file.default

    def effective(self) -> LimitFile:
        """The user's file with an entry for every route that has a built-in number: what holds there."""
        routes = {key: self.limit(*key.split(" ", 1)) for key in self._keys}
        return msgspec.structs.replace(self.file, endpoints={**routes, **self.file.endpoints})

    def limits_of(self, endpoint: str) -> dict[str, Limit]:
        """What holds for `METHOD /path`, or for each method of `/path` that has a limit of its own, by endpoint."""
        method, segments = _segments(endpoint)
        found = {
            key: limit
            for key, limit in self.effective().endpoints.items()
            if _split(key.rpartition(" ")[2]) == segments and (method is None or key.startswith(f"{method} "))
        }
        return found or {endpoint: self.limit(method or "", endpoint.rpartition(" ")[2])}

    @property
    def unmatched(self) -> Limit:
        """The limit of all requests together that match no route."""
        return self.file.default


def limit_file_path() -> Path:
    """`rate_limits.json` in the user's configuration directory; it need not exist."""
    return user_config_dir() / "rate_limits.json"


def decode_limit_file(data: bytes) -> LimitFile:
    """Check and decode a `rate_limits.json`. BadInput says what is wrong with it."""
    try:
        return msgspec.convert(parse_json(data), LimitFile)
    except msgspec.ValidationError as error:
        raise BadInput(found_wrong(str(error)) or str(error)) from error
    except (ValueError, RecursionError) as error:
        raise BadInput(str(error) or "not JSON") from error


def load_limit_file() -> LimitFile:
    """The user's file; the built-in numbers if it is absent, or (reported) if it is broken."""
    try:
        return decode_limit_file(limit_file_path().read_bytes())
    except FileNotFoundError:
        return LimitFile()
    except OSError as error:
        logger.error("rate_limits.json cannot be read (%s): the built-in limits are used", error.strerror)
    except BadInput as error:
        logger.error("rate_limits.json is broken (%s): the built-in limits are used", error)
    return LimitFile()


def check_endpoint(key: str) -> str:
    """`key` itself if it is `/path` or `METHOD /path`; ValueError otherwise."""
    method, _, path = key.rpartition(" ")
    if not path.startswith("/") or (method and not (method.isascii() and method.isalpha() and method.isupper())):
        raise ValueError(f"Endpoint must start with / or METHOD /: {key}")
    return key


def _route_key(key: str) -> tuple[str, tuple[str, ...]]:
    method, segments = _segments(key)
    return (method or "GET", segments)


def _segments(key: str) -> tuple[str | None, tuple[str, ...]]:
    method, _, path = key.rpartition(" ")
    return method or None, _split(path)


def _split(path: str) -> tuple[str, ...]:
    # A parameter's name does not matter, and `v{version}` is one parameter to the router.
    return tuple("{}" if "{" in segment else segment for segment in path.split("/") if segment)
