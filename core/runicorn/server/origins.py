"""Which web pages and host names may talk to this server.

There is no login, so every page that a user visits could otherwise read and change runs: by requests across origins, or
by a host name that an attacker points at 127.0.0.1. Host names are therefore an allow-list, foreign origins are refused.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from runicorn.errors import BadInput, Forbidden, RunicornError

DEVELOPMENT_ORIGINS = ("http://localhost:5173", "http://127.0.0.1:5173")
"""The front-end's development server."""

_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
_DEFAULT_PORTS = {"http": ":80", "https": ":443", "ws": ":80", "wss": ":443"}

Headers = Mapping[bytes, bytes]


class Callers:
    """The rules of one server about `Host`, `Origin` and fetch metadata."""

    def __init__(self, bind: str, *, allow_hosts: Sequence[str] = (), allow_origins: Sequence[str] = ()) -> None:
        self._hosts = set(_LOOPBACK_NAMES | {_bracketed(bind), *(_bracketed(host) for host in allow_hosts)})
        self._any_address = not is_loopback_host(bind)
        if self._any_address:
            self._hosts |= {socket.gethostname().lower(), socket.getfqdn().lower()}
        self._origins = {origin.lower().encode() for origin in (*DEVELOPMENT_ORIGINS, *allow_origins)}

    def allowed_origin(self, headers: Headers) -> bytes | None:
        """The request's Origin, if it is on the allow-list: the only case that gets CORS headers."""
        origin = headers.get(b"origin")
        return origin if origin is not None and origin.lower() in self._origins else None

    def bad_host(self, headers: Headers) -> RunicornError | None:
        """Why a request is refused whatever it asks for, or None."""
        host = _name(headers.get(b"host", b""))
        allowed = host in self._hosts or (self._any_address and _is_address(host))
        return None if allowed else BadInput("Invalid host header")

    def foreign(self, headers: Headers, method: str, *, has_secrets: bool = False) -> RunicornError | None:
        """Why a request to the API is refused because of where it comes from, or None.

        A link on another page may open an answer in the browser, unless the answer `has_secrets`.
        """
        origin = headers.get(b"origin")
        if origin is not None:
            own = _same_origin(origin, headers.get(b"host", b""))
            return None if own or origin.lower() in self._origins else Forbidden("Origin not allowed")
        if headers.get(b"sec-fetch-site") != b"cross-site":
            return None
        navigates = method == "GET" and headers.get(b"sec-fetch-mode") == b"navigate"
        return None if navigates and not has_secrets else Forbidden("Origin not allowed")


def is_loopback_host(host: str) -> bool:
    """Whether a bind address is reachable from this machine only."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _same_origin(origin: bytes, host: bytes) -> bool:
    try:
        parts = urlsplit(origin.decode("ascii").lower())
        default = _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return False
    if default is None or not parts.netloc or parts.path or parts.query or parts.fragment or "@" in parts.netloc:
        return False
    return parts.netloc.removesuffix(default) == host.decode("latin-1").lower().removesuffix(default)


def _name(host: bytes) -> str:
    text = host.decode("latin-1").lower()
    if text.startswith("["):
        return text.partition("]")[0] + "]"
    return text.partition(":")[0]


def _bracketed(host: str) -> str:
    host = host.lower()
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _is_address(host: str) -> bool:
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
