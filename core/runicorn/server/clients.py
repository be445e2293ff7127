"""Who is calling: the address that requests are counted by.

The address is that of the TCP peer. `X-Forwarded-For` counts only when the peer is a trusted proxy: then it is the
right-most entry that is not one itself. IPv6 clients are one per /64, as one customer usually has that much.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from runicorn.errors import BadInput

_CLIENT = "runicorn.client"


class Clients:
    """Finds the address of a request's client."""

    def __init__(self, trusted_proxies: Sequence[str] = ()) -> None:
        """BadInput if a proxy is neither an address nor a network."""
        self._trusted: list[IPv4Network | IPv6Network] = []
        for proxy in trusted_proxies:
            try:
                self._trusted.append(ip_network(proxy, strict=False))
            except ValueError:
                raise BadInput(f"Not an IP address or network: {proxy}") from None

    def key(self, peer: str, forwarded_for: bytes | None) -> str:
        """The key to count by: an IPv4 address or an IPv6 /64; anything else (a socket's path) as it is."""
        if forwarded_for is not None and self._trusted and self._is_trusted(peer):
            for entry in reversed(forwarded_for.decode("latin-1").split(",")):
                address = _without_port(entry.strip())
                if _parse(address) is None:
                    break  # nothing further left can be believed either
                peer = address
                if not self._is_trusted(address):
                    break
        return client_key(peer)

    def _is_trusted(self, address: str) -> bool:
        parsed = _parse(address)
        return parsed is not None and any(parsed in network for network in self._trusted)


@lru_cache(4096)
def client_key(address: str) -> str:
    """`192.0.2.1` → itself, `2001:db8:1:2:3::4` → `2001:db8:1:2::/64`; text that is no address is returned as it is."""
    parsed = _parse(address)
    if parsed is None:
        return address
    if isinstance(parsed, IPv6Address) and not parsed.is_loopback:
        return str(ip_network((parsed, 64), strict=False))
    return str(parsed)


def remember_client(scope: Any, key: str) -> None:
    """Note the client of a connection, for `client_of`."""
    scope[_CLIENT] = key


def client_of(connection: Any) -> str:
    """The client of a request or WebSocket, as rate limits count it: an IPv4 address or an IPv6 /64."""
    return str(connection.scope.get(_CLIENT, "unknown"))


def limited_client(connection: Any) -> str | None:
    """The client under which a connection counts against a route's own limit; None while limiting is off."""
    return client_of(connection) if connection.app.state.rate_limiting else None


def _parse(address: str) -> IPv4Address | IPv6Address | None:
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return mapped or parsed


def _without_port(entry: str) -> str:
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    return entry.partition(":")[0] if entry.count(":") == 1 else entry
