"""Building read models from nothing: by `runicorn events replay`, and by the projector of a server that starts."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from benchmarks.processes import hear, memory, running
from runicorn.projection.wire import Reply, Request, decode_message, encode_message, published_address

_LOOK_S = 0.05
_TIMEOUT_S = 3600.0


class Replay(msgspec.Struct, frozen=True):
    """What building all read models took."""

    seconds: float
    peak_memory: int
    """Bytes of the process and its children, sampled 20 times a second."""
    stored: int
    """Bytes of all read models, once closed."""


def replay(root: Path, state_dir: Path) -> Replay:
    """Replay the log of `root` into the new directory `state_dir`. The start of interpreter and plugins is not in it."""
    state_dir.mkdir(parents=True)
    arguments = ("events", "replay", "--storage", str(root), "--state-dir", str(state_dir), "--json")
    with running("runicorn", *arguments) as process:
        peak = _watched(process.pid, lambda: process.poll() is not None)
        report = json.loads(hear(process))
    return Replay(report["seconds"], peak, stored(state_dir))


def first_build(root: Path, state_dir: Path) -> Replay:
    """Start the projector alone on a root that has no read models yet, and wait until they are level with the log.

    It looks at every run directory for files of 0.4.0, too. From the start of the process. TimeoutError after an hour.
    """
    state_dir.mkdir(parents=True)
    start = time.monotonic()
    arguments = ("--root", str(root), "--state-dir", str(state_dir), "--log-level", "warning")
    with running("runicorn.projection", *arguments) as process:
        peak = _watched(process.pid, lambda: process.poll() is not None or _is_live(state_dir))
        seconds = time.monotonic() - start
    return Replay(seconds, peak, stored(state_dir))


def _watched(pid: int, is_done: Callable[[], bool]) -> int:
    """The most memory that the process had until `is_done()`."""
    deadline = time.monotonic() + _TIMEOUT_S
    peak = 0
    while not is_done():
        peak = max(peak, memory(pid))
        if time.monotonic() > deadline:
            raise TimeoutError("the read models did not become level with the log")
        time.sleep(_LOOK_S)
    return peak


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
