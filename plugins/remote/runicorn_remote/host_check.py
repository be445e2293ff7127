"""Is there an SSH server, and is it the one that we know? Nothing is sent that needs trust: no login is tried."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import msgspec

from runicorn_remote.connector import dial, end, exchanging_keys, prefer_known
from runicorn_remote.errors import BehindProxy, HostKeyMismatch
from runicorn_remote.host_keys import shown_key
from runicorn_remote.known_hosts import KnownKeys, known_keys
from runicorn_remote.ssh_config import Host

if TYPE_CHECKING:
    from paramiko.pkey import PKey


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
    connection = dial(host.hostname, host.port, host.address, timeout_s=timeout_s)
    with connection:
        banner, key = _exchange_keys(host, connection, keys, max(deadline - time.monotonic(), 0.01))
    verdict = keys.judge(key)
    if verdict in ("revoked", "mismatch"):
        expected = next((shown_key(known) for known in keys.trusted), None)
        raise HostKeyMismatch(host.address, host.hostname, shown_key(key), expected)
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


def _exchange_keys(host: Host, connection: socket.socket, keys: KnownKeys, timeout_s: float) -> tuple[str, PKey]:
    from paramiko.transport import Transport

    transport = Transport(connection)
    try:
        prefer_known(transport, keys.key_types)
        with exchanging_keys(transport, host.address, timeout_s):
            return transport.remote_version, transport.get_remote_server_key()
    finally:
        end(transport)
