"""The projector alone, from an empty state directory until its read models are level with the log."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from benchmarks.processes import memory, running
from runicorn.projection.wire import Reply, Request, decode_message, encode_message, published_address

_LOOK_S = 0.05
_TIMEOUT_S = 3600.0


class Replay(msgspec.Struct, frozen=True):
    """What one cold replay took."""

    seconds: float
    """From the start of the process, so interpreter and imports are in it."""
    peak_memory: int
    """Bytes, sampled 20 times a second."""
    stored: int
    """Bytes of all read models, once closed."""


def replay(root: Path, state_dir: Path) -> Replay:
    """Build the read models of `root` in the new directory `state_dir`. TimeoutError after an hour."""
    state_dir.mkdir(parents=True)
    start = time.monotonic()
    arguments = ("--root", str(root), "--state-dir", str(state_dir), "--log-level", "warning")
    peak = 0
    with running("runicorn.projection", *arguments) as process:
        while True:
            peak = max(peak, memory(process.pid))
            if _is_live(state_dir):
                seconds = time.monotonic() - start
                break
            if process.poll() is not None:
                raise RuntimeError("the projector ended")
            if time.monotonic() - start > _TIMEOUT_S:
                raise TimeoutError("the read models did not become level with the log")
            time.sleep(_LOOK_S)
    return Replay(seconds, peak, stored(state_dir))


def stored(state_dir: Path) -> int:
    """Bytes of the read models in a state directory."""
    return sum(path.stat().st_size for path in state_dir.glob("*-*.db*"))


def connect(state_dir: Path) -> socket.socket | None:
    """A connection to the projector of a state directory; None if it does not listen yet."""
    address = published_address(state_dir)
    if address is None:
        return None
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with suppress(OSError):
        connection.connect(address)
        return connection
    connection.close()
    return None


def _is_live(state_dir: Path) -> bool:
    connection = connect(state_dir)
    if connection is None:
        return False
    with connection, connection.makefile("rb") as lines:
        connection.sendall(encode_message(Request(1, "status")) + b"\n")
        for line in lines:
            message = decode_message(line)
            if isinstance(message, Reply) and message.status is not None:
                return message.status.state == "live" and not message.status.behind_streams
    return False
