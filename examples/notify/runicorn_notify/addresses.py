"""Where a webhook may lead: to public addresses, and to networks that the user has allowed.

A name is resolved once, and the connection is made to an address that was checked: a name that leads elsewhere the next
time it is asked for (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence

from runicorn_notify.settings import Network

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: the last four bytes are an IPv4 address
_TRANSLATED_LOCALLY = ipaddress.IPv6Network("64:ff9b:1::/48")  # RFC 8215
_SHARED = ipaddress.IPv4Network("100.64.0.0/10")  # RFC 6598: behind a carrier's or a cloud's translation


class ForbiddenAddress(Exception):
    """The host of the webhook leads to an address that is neither public nor allowed."""


def resolve(host: str, port: int, allowed: Sequence[Network]) -> list[str]:
    """The addresses of a host. ForbiddenAddress if any of them may not be connected to; OSError if it has none."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for text in addresses:
        if not is_permitted(ipaddress.ip_address(text), allowed):
            raise ForbiddenAddress(f"{host} leads to {text}, which is not public: allow_networks may permit it")
    return addresses


def is_permitted(address: Address, allowed: Sequence[Network]) -> bool:
    """Whether an address is public, or in one of the networks."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = _embedded(address)
        if inner is not None:
            return is_permitted(inner, allowed)
        if address.scope_id is not None or address in _TRANSLATED_LOCALLY:
            return False
    if any(address.version == network.version and address in network for network in allowed):
        return True
    return _is_public(address)


def _is_public(address: Address) -> bool:
    is_special = (
        address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_reserved
        or address.is_unspecified
        or (isinstance(address, ipaddress.IPv6Address) and address.is_site_local)
    )
    return address.is_global and not is_special and not (address.version == 4 and address in _SHARED)


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address to which packets for this one go."""
    if address in _TRANSLATED:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
