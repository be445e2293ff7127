"""Is there an SSH server, and is it the one that we know? Nothing is sent that needs trust: no login is tried."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Generator
from typing import TYPE_CHECKING

import msgspec

from runicorn_remote.errors import (
    BehindProxy,
    ConnectionRefused,
    HostKeyMismatch,
    HostKeyRevoked,
    HostTimeout,
    HostUnknown,
    HostUnreachable,
    NegotiationFailed,
    NotSsh,
)
from runicorn_remote.known_hosts import KnownKeys, known_keys
from runicorn_remote.ssh_config import Host

if TYPE_CHECKING:
    from paramiko.pkey import PKey
    from paramiko.transport import Transport


class CheckReport(msgspec.Struct, frozen=True):
    """A host that answers with a key that is known, or with the first one that was ever seen."""

    alias: str
    hostname: str
    port: int
    user: str | None
    banner: str
    """What the server calls itself, such as `SSH-2.0-OpenSSH_9.2p1`."""
    key_type: str
    fingerprint: str
    """`SHA256:…`, as `ssh-keygen -lf` prints it."""
    is_known: bool
    """Whether known_hosts has this key for the host."""


def check_host(host: Host, *, timeout_s: float = 10.0) -> CheckReport:
    """Connect, read banner and host key, compare with known_hosts, disconnect. A RemoteError says what is wrong.

    Blocks for about `timeout_s` at most, and for as long as the system's resolver takes.
    """
    proxy = (host.proxy_jump and f"ProxyJump {host.proxy_jump}") or (host.proxy_command and "a ProxyCommand")
    if proxy:
        raise BehindProxy(host.address, proxy)
    keys = known_keys(host.key_alias or host.hostname, 22 if host.key_alias else host.port)
    deadline = time.monotonic() + timeout_s
    with _connected(host, timeout_s, deadline) as connection:
        banner, key = _exchange_keys(host, connection, keys, timeout_s, deadline)
    verdict = keys.judge(key)
    if verdict == "revoked":
        raise HostKeyRevoked(host.address, key.fingerprint)
    if verdict == "mismatch":
        raise HostKeyMismatch(host.address, key.fingerprint, " or ".join(known.fingerprint for known in keys.trusted))
    return CheckReport(
        alias=host.alias,
        hostname=host.hostname,
        port=host.port,
        user=host.user,
        banner="".join(character for character in banner if character.isprintable()),
        key_type=key.get_name(),
        fingerprint=key.fingerprint,
        is_known=verdict == "known",
    )


@contextlib.contextmanager
def _connected(host: Host, timeout_s: float, deadline: float) -> Generator[socket.socket]:
    try:
        addresses = socket.getaddrinfo(host.hostname, host.port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError, OverflowError):
        raise HostUnknown(host.address) from None
    failure: OSError | None = None
    for family, kind, protocol, _, address in addresses:
        connection = socket.socket(family, kind, protocol)
        connection.settimeout(max(deadline - time.monotonic(), 0.01))
        try:
            connection.connect(address)
        except OSError as error:
            connection.close()
            failure = error
            continue
        with connection:
            yield connection
        return
    if isinstance(failure, TimeoutError):
        raise HostTimeout(host.address, timeout_s) from failure
    if isinstance(failure, ConnectionRefusedError):
        raise ConnectionRefused(host.address) from failure
    raise HostUnreachable(host.address) from failure


def _exchange_keys(
    host: Host, connection: socket.socket, keys: KnownKeys, timeout_s: float, deadline: float
) -> tuple[str, PKey]:
    from paramiko.ssh_exception import SSHException
    from paramiko.transport import Transport

    transport = Transport(connection)
    try:
        _prefer(transport, keys.key_types)
        remaining = max(deadline - time.monotonic(), 0.01)
        transport.banner_timeout = transport.handshake_timeout = remaining
        transport.start_client(timeout=remaining)
        # It also returns when the time is over: then there is no key.
        return transport.remote_version, transport.get_remote_server_key()
    except (SSHException, EOFError, OSError) as error:
        if time.monotonic() >= deadline - 0.01:
            raise HostTimeout(host.address, timeout_s) from error
        if not transport.remote_version:
            raise NotSsh(host.address) from error
        raise NegotiationFailed(host.address) from error
    finally:
        transport.close()
        transport.join(1)


def _prefer(transport: Transport, key_types: list[str]) -> None:
    """Ask for keys of the known types first, so that a server with several keys is not taken for a changed one."""
    options = transport.get_security_options()
    offered = list(options.key_types)
    known = set(key_types)
    if "ssh-rsa" in known:
        known |= {"rsa-sha2-512", "rsa-sha2-256"}  # signatures of the same keys
    options.key_types = tuple(sorted(offered, key=lambda key_type: key_type not in known))
