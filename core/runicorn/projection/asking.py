"""One request to the projector that runs, from code without an event loop: commands and processes of plugins."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import msgspec

from runicorn.projection.wire import Reply, Request, decode_message, encode_message, published_address


def ask(state_dir: Path, request: Request, *, timeout_s: float) -> Reply | None:
    """The reply, on a connection of its own; None if nobody listens, or no reply comes in time."""
    address = published_address(state_dir)
    if address is None:
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        with contextlib.suppress(OSError, msgspec.DecodeError):
            connection.connect(address)
            connection.sendall(encode_message(request) + b"\n")
            with connection.makefile("rb") as lines:
                for line in lines:
                    message = decode_message(line)
                    if isinstance(message, Reply) and message.id == request.id:
                        return message
    return None
