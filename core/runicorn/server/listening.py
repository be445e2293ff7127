"""The listening socket, and what to say when there is none to be had."""

from __future__ import annotations

import errno
import socket

from runicorn.errors import RunicornError

_BACKLOG = 1024


class CannotListen(RunicornError):
    """The address cannot be bound. The text is for the terminal."""


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket; port 0 takes any free one. CannotListen says why not."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError, OverflowError):
        raise CannotListen(f"There is no address {host!r} to listen on.") from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        raise CannotListen(_reason(host, port, error)) from None
    listener.setblocking(False)
    return listener


def url_of(listener: socket.socket) -> str:
    """The URL under which a listener is reached."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _reason(host: str, port: int, error: Exception) -> str:
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EADDRINUSE:
        return f"Port {port} is in use{_user_of(port)}. Stop that program, or choose another port with --port."
    if number == errno.EACCES:
        return f"Port {port} may not be opened by this user. Choose one above 1023 with --port."
    if number == errno.EADDRNOTAVAIL:
        return f"This machine does not have the address {host}."
    return f"Cannot listen on {host}, port {port}: {getattr(error, 'strerror', None) or error}."


def _user_of(port: int) -> str:
    """` by <program> (pid N)`, or nothing if the system does not tell."""
    import psutil

    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.pid and connection.laddr[1:] == (port,):
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except (psutil.Error, OSError):
        pass
    return ""
