"""Which web pages and host names may talk to this server.

There is no login, so every page that a user visits could otherwise read and change runs: by requests across origins, or
by a host name that an attacker points at 127.0.0.1. Host names are therefore an allow-list, foreign origins are refused.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from runicorn.errors import BadInput, Forbidden, RunicornError, shown

DEVELOPMENT_ORIGINS = ("http://localhost:5173", "http://127.0.0.1:5173")
"""The front-end's development server."""

_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
_NAME = r"(?:\[[0-9a-f:.]+\]|[^\s\x00-\x1f\x7f\[\]:/?#@\\*]+)"
_HOST = re.compile(rf"({_NAME})(?::[0-9]*)?")
_ORIGIN = re.compile(rf"([a-z][a-z0-9+.-]*)://{_NAME}(?::[0-9]{{1,5}})?")
_DEFAULT_PORTS = {"http": ":80", "https": ":443", "ws": ":80", "wss": ":443"}

Headers = Mapping[bytes, bytes]


class Callers:
    """The rules of one server about `Host`, `Origin` and fetch metadata."""

    def __init__(self, bind: str, *, allow_hosts: Sequence[str] = (), allow_origins: Sequence[str] = ()) -> None:
        """BadInput for a host name or an origin that no browser can send."""
        self._hosts = set(_LOOPBACK_NAMES | {_bracketed(bind), *map(checked_host, allow_hosts)})
        self._any_address = not is_loopback_host(bind)
        if self._any_address:
            self._hosts |= {socket.gethostname().lower(), socket.getfqdn().lower()}
        self._origins = {origin.encode() for origin in (*DEVELOPMENT_ORIGINS, *map(checked_origin, allow_origins))}

    def allowed_origin(self, headers: Headers) -> bytes | None:
        """The request's Origin, if it is on the allow-list: the only case that gets CORS headers."""
        origin = headers.get(b"origin")
        return origin if origin in self._origins else None

    def bad_host(self, headers: Headers) -> RunicornError | None:
        """Why a request is refused whatever it asks for, or None."""
        host = _name(headers.get(b"host", b""))
        allowed = host is not None and (host in self._hosts or (self._any_address and _is_address(host)))
        return None if allowed else BadInput("Invalid host header")

    def foreign(self, headers: Headers, method: str, *, has_secrets: bool = False) -> RunicornError | None:
        """Why a request to the API is refused because of where it comes from, or None.

        A link on another page may open an answer in the browser, unless the answer `has_secrets`.
        """
        origin = headers.get(b"origin")
        if origin is not None:
            own = _same_origin(origin, headers.get(b"host", b""))
            return None if own or origin in self._origins else Forbidden("Origin not allowed")
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


def checked_host(name: str) -> str:
    """A host name or address as `Host` headers have it. BadInput if it is neither, such as a name with a port."""
    host = _bracketed(name)
    if _name(host.encode("latin-1", "replace")) != host:
        raise BadInput(f"Not a host name without a port: {shown(name)!r}")
    return host


def checked_origin(text: str) -> str:
    """An origin as browsers send it, in lower case and without the port that is its scheme's. BadInput if it is none."""
    found = _ORIGIN.fullmatch(text.lower())
    if found is None:
        raise BadInput(f"Not an origin, such as https://example.org:8080, without a path: {shown(text)!r}")
    return found[0].removesuffix(_DEFAULT_PORTS.get(found[1], ""))


def _name(host: bytes) -> str | None:
    """The host in a `Host` header, without its port; None if it is none."""
    found = _HOST.fullmatch(host.decode("latin-1").lower())
    return None if found is None else found[1]


def _bracketed(host: str) -> str:
    host = host.lower()
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _is_address(host: str) -> bool:
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
