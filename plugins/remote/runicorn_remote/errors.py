"""What can go wrong on the way to a machine.

    RemoteError                503
    ├── ConfigUnusable               ~/.ssh/config cannot be understood
    ├── HostUnknown                  the name does not resolve
    ├── ConnectionRefused            nothing listens on the port
    ├── HostUnreachable              no route, or the connection broke
    ├── HostTimeout                  no answer in time
    ├── NotSsh                       something listens, but it does not speak SSH
    ├── NegotiationFailed            it speaks SSH, but no key exchange is possible
    ├── BehindProxy                  only reached through another host or command
    ├── HostKeyMismatch              not the key that known_hosts has
    └── HostKeyRevoked               a key that known_hosts marks as revoked

Each has a short `code` for programs.
"""

from __future__ import annotations

from typing import ClassVar

from runicorn.plugin import Unavailable


class RemoteError(Unavailable):
    """A remote machine cannot be used; the text names it and the cause."""

    code: ClassVar[str]


class ConfigUnusable(RemoteError):
    """The SSH configuration cannot be understood."""

    code = "config"


class HostUnknown(RemoteError):
    """The name does not resolve."""

    code = "dns"

    def __init__(self, address: str) -> None:
        super().__init__(f"{address}: the host name is not known. Check the spelling, and HostName in ~/.ssh/config.")


class ConnectionRefused(RemoteError):
    """Nothing listens there."""

    code = "refused"

    def __init__(self, address: str) -> None:
        super().__init__(f"{address}: the connection was refused. Is an SSH server running there, and is it this port?")


class HostUnreachable(RemoteError):
    """The network does not get there."""

    code = "unreachable"

    def __init__(self, address: str) -> None:
        super().__init__(f"{address}: the host cannot be reached. Check the network, a VPN, or a firewall.")


class HostTimeout(RemoteError):
    """No answer in time."""

    code = "timeout"

    def __init__(self, address: str, timeout_s: float) -> None:
        super().__init__(f"{address}: no answer within {timeout_s:g} s. It may be off, or behind a firewall.")


class NotSsh(RemoteError):
    """Something else listens there."""

    code = "protocol"

    def __init__(self, address: str) -> None:
        super().__init__(f"{address}: something answers there, but it does not speak SSH. Check the port.")


class NegotiationFailed(RemoteError):
    """No common algorithms, or a broken peer."""

    code = "protocol"

    def __init__(self, address: str) -> None:
        super().__init__(f"{address}: it speaks SSH, but the key exchange failed. Its SSH server may be too old.")


class BehindProxy(RemoteError):
    """Only reached through another host or command, which a check does not use."""

    code = "proxy"

    def __init__(self, address: str, setting: str) -> None:
        super().__init__(
            f"{address}: reached through {setting}, which a check does not follow. Check that host instead."
        )


class HostKeyMismatch(RemoteError):
    """The host shows another key than the one that is known."""

    code = "host_key_mismatch"

    def __init__(self, address: str, shown: str, known: str) -> None:
        super().__init__(
            f"{address}: the host key does not match ~/.ssh/known_hosts: got {shown}, expected {known}."
            " Either the server was set up again, or somebody is in between. Do not log in before you know which."
        )


class HostKeyRevoked(RemoteError):
    """The host shows a key that must not be used any more."""

    code = "host_key_mismatch"

    def __init__(self, address: str, shown: str) -> None:
        super().__init__(f"{address}: the host key {shown} is revoked in ~/.ssh/known_hosts. Do not log in.")
