"""The one way to a machine: name, TCP, key exchange, host key, login. Every entry point and every reconnect uses it.

All calls block, for threads; each step has a deadline. On any failure the socket, the transport and its thread are gone
before the error is raised.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, cast

import msgspec

from runicorn_remote.attempt import Attempt
from runicorn_remote.credentials import Credentials
from runicorn_remote.errors import (
    ConnectFailed,
    ConnectionRefused,
    HostKey,
    HostTimeout,
    HostUnknown,
    HostUnreachable,
    NegotiationFailed,
    NotSsh,
)
from runicorn_remote.heard import Heard
from runicorn_remote.host_keys import HostKeyPolicy, HostKeys, shown_key
from runicorn_remote.login import Method, log_in, methods_of
from runicorn_remote.ssh_config import Host, HostsFile

if TYPE_CHECKING:
    from paramiko.transport import Transport

_TCP_S = 10.0
_BANNER_S = 10.0
_NEGOTIATE_S = 15.0
_KEEPALIVE_S = 15
_CHANNEL_S = 10.0
_MAX_JUMPS = 4

Stream = socket.socket
"""What a transport talks through: a socket, or a channel of another transport, which behaves like one."""


class Target(msgspec.Struct, frozen=True):
    """Where to connect to, and as whom."""

    host: str
    port: int
    username: str

    @property
    def connection_id(self) -> str:
        """`user@host:port`."""
        return f"{self.username}@{self.host}:{self.port}"

    def resolve(self) -> Host:
        """How the host is reached, by `~/.ssh/config`; an explicit port beats the configured one."""
        host = HostsFile().host(self.host)
        return host if self.port == 22 else msgspec.structs.replace(host, port=self.port)


class Connected(msgspec.Struct, frozen=True):
    """A transport that is logged in."""

    transport: Transport
    host_key: HostKey
    first_use: bool
    """Whether the host key was stored by this connection."""
    method: str
    """How the login was done, for the log: `key`, `agent`, `default key`, `password`, `keyboard-interactive`."""
    heard: Heard
    through: tuple[Transport, ...] = ()
    """Transports of the jump hosts, the first one first."""

    def close(self) -> None:
        """End the connection and those that carry it; does not block."""
        for transport in (self.transport, *reversed(self.through)):
            transport.close()


def connect(
    target: Target, credentials: Credentials, policy: HostKeyPolicy, attempt: Attempt | None = None
) -> Connected:
    """Connect and log in. ConnectFailed says what went wrong; ConfigUnusable that ~/.ssh/config is not understood.

    Another thread may end the `attempt`: then it fails as if the host could not be reached.
    """
    host, attempt = target.resolve(), attempt or Attempt()
    credentials = msgspec.structs.replace(
        credentials, identity_files=[identity.path for identity in host.identity_files if identity.exists]
    )
    with attempt.under_way(), contextlib.ExitStack() as agents, contextlib.ExitStack() as undo:
        methods = methods_of(credentials, agents)  # before the first packet: it may be that there is none
        through = _jump(host, policy, undo, agents, attempt)
        stream = _tunnel(through[-1], host) if through else _dial(host, attempt)
        undo.callback(stream.close)
        heard = Heard(stream)
        transport, key, first_use = _negotiate(host, target.host, cast(Stream, heard), policy, undo)
        method = _log_in(host, target.username, transport, methods, key, first_use=first_use)
        transport.set_keepalive(_KEEPALIVE_S)
        undo.pop_all()
        return Connected(transport, key, first_use, method, heard, tuple(through))


def dial(
    hostname: str, port: int, address: str, *, timeout_s: float = _TCP_S, attempt: Attempt | None = None
) -> socket.socket:
    """A TCP connection to the first address that answers. `address` is what errors call the host."""
    deadline = time.monotonic() + timeout_s
    try:
        addresses = socket.getaddrinfo(hostname, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError, OverflowError):
        raise HostUnknown(address) from None
    failure: OSError | None = None
    for family, kind, protocol, _, where in addresses:
        connection = socket.socket(family, kind, protocol)
        connection.settimeout(max(deadline - time.monotonic(), 0.01))
        try:
            if attempt is not None:
                attempt.use(connection)
            connection.connect(where)
        except OSError as error:
            connection.close()
            failure = error
            continue
        with contextlib.suppress(OSError):  # the other side, or the attempt, may have ended it already
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection
    if isinstance(failure, TimeoutError):
        raise HostTimeout(address) from failure
    if isinstance(failure, ConnectionRefusedError):
        raise ConnectionRefused(address) from failure
    raise HostUnreachable(address) from failure


def _dial(host: Host, attempt: Attempt) -> Stream:
    return dial(host.hostname, host.port, host.address, attempt=attempt)


def prefer_known(transport: Transport, key_types: Sequence[str]) -> None:
    """Ask for keys of the known types first, so that a server with several keys is not taken for a changed one."""
    options = transport.get_security_options()
    known = set(key_types)
    if "ssh-rsa" in known:
        known |= {"rsa-sha2-512", "rsa-sha2-256"}  # signatures of the same keys
    options.key_types = tuple(sorted(options.key_types, key=lambda key_type: key_type not in known))


@contextlib.contextmanager
def exchanging_keys(transport: Transport, address: str, timeout_s: float) -> Generator[None]:
    """Do the key exchange, and have the body look at its result. HostTimeout, NotSsh or NegotiationFailed."""
    from paramiko.ssh_exception import SSHException

    deadline = time.monotonic() + timeout_s
    try:
        transport.banner_timeout = min(_BANNER_S, timeout_s)
        transport.handshake_timeout = timeout_s
        transport.start_client(timeout=timeout_s)
        if not transport.initial_kex_done:  # it also returns when the time is over
            raise HostTimeout(address)
        yield
    except (SSHException, EOFError, OSError) as error:
        # A peer that is silent says nothing until the time for its banner is over.
        if time.monotonic() >= deadline - timeout_s + min(_BANNER_S, timeout_s) - 0.1:
            raise HostTimeout(address) from error
        raise (NegotiationFailed if transport.remote_version else NotSsh)(address) from error


def _negotiate(
    host: Host, typed: str, stream: Stream, policy: HostKeyPolicy, undo: contextlib.ExitStack
) -> tuple[Transport, HostKey, bool]:
    """Exchange keys and judge the server's, before anything secret is sent."""
    from paramiko.transport import Transport

    known = HostKeys(host.key_alias or host.hostname, 22 if host.key_alias else host.port, shown_as=typed)
    transport = Transport(stream)
    undo.callback(end, transport)
    transport.auth_timeout = _NEGOTIATE_S
    transport.channel_timeout = _CHANNEL_S
    prefer_known(transport, known.known.key_types)
    with exchanging_keys(transport, host.address, _NEGOTIATE_S):
        key = transport.get_remote_server_key()
    return transport, shown_key(key), known.check(host.address, key, policy)


def _log_in(
    host: Host,
    username: str,
    transport: Transport,
    methods: Sequence[Method],
    key: HostKey,
    *,
    first_use: bool | None = None,
) -> str:
    try:
        return log_in(transport, username, methods)
    except ConnectFailed as failure:
        failure.address = host.address
        failure.host_key, failure.first_use = key, first_use
        raise


def _jump(
    host: Host, policy: HostKeyPolicy, undo: contextlib.ExitStack, agents: contextlib.ExitStack, attempt: Attempt
) -> list[Transport]:
    """Connect to the hosts of `ProxyJump`, each through the one before, with the agent and the default keys."""
    hops = [hop.strip() for hop in (host.proxy_jump or "").split(",") if hop.strip()]
    if len(hops) > _MAX_JUMPS:
        raise HostUnreachable(host.address)
    policy = msgspec.structs.replace(policy, accepted=None)  # that is the key of the host behind them
    through: list[Transport] = []
    for hop in hops:
        name, _, port = hop.rpartition("@")[2].partition(":")
        jump = Target(name, int(port) if port.isdecimal() else 22, hop.rpartition("@")[0]).resolve()
        username = hop.rpartition("@")[0] or jump.user or _local_user()
        identities = [file.path for file in jump.identity_files if file.exists]
        methods = methods_of(Credentials(identity_files=identities), agents)
        stream = _tunnel(through[-1], jump) if through else _dial(jump, attempt)
        undo.callback(stream.close)
        transport, key, _ = _negotiate(jump, name, stream, policy, undo)
        _log_in(jump, username, transport, methods, key)
        transport.set_keepalive(_KEEPALIVE_S)
        through.append(transport)
    return through


def _tunnel(transport: Transport, host: Host) -> Stream:
    """A channel of a jump host that leads to `host`."""
    from paramiko.ssh_exception import ChannelException, SSHException

    try:
        channel = transport.open_channel(
            "direct-tcpip", (host.hostname, host.port), ("127.0.0.1", 0), timeout=_CHANNEL_S
        )
    except ChannelException as error:
        raise ConnectionRefused(host.address) from error
    except (SSHException, EOFError, OSError) as error:
        raise HostUnreachable(host.address) from error
    return cast(Stream, channel)


def end(transport: Transport) -> None:
    transport.close()
    with contextlib.suppress(RuntimeError):  # a thread that never started
        transport.join(1)


def _local_user() -> str:
    import getpass

    return getpass.getuser()
