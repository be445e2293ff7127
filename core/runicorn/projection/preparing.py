"""Preparing streams in other processes, for a rebuild: they read, decode, fold and encode; the rebuild only writes.

    rebuild ──groups of streams──▶ other processes ──what projections prepared──▶ rebuild

Both ends are ours and of one version, so what they say to each other is pickled.
"""

from __future__ import annotations

import argparse
import gc
import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple, cast

from runicorn.errors import RunicornError
from runicorn.events.log import FileLog, Stream
from runicorn.events.past import PastLog
from runicorn.host import PluginHost, Selection
from runicorn.patience import Patience
from runicorn.projection.base import Projection
from runicorn.projection.generations import fingerprint
from runicorn.projection.prepared import NotPrepared, PreparationFailed, Prepared, prepare, preparing

_GROUPS_AHEAD = 2
_MESSAGES_AT_ONCE = 64
_BYTES_AT_ONCE = 1 << 20
_IDLE = 19
# Not `-m`: as `__main__`, its classes would be others than those that are pickled here.
_START = "import sys; from runicorn.projection.preparing import main; sys.exit(main())"


class Failed(NamedTuple):
    """A projection raised."""

    plugin: str
    reason: str


class GroupDone(NamedTuple):
    """All streams of a group were sent."""


Message = Prepared | NotPrepared | Failed | GroupDone


class PreparationEnded(RunicornError):
    """A process that prepares streams has ended before its work was done."""

    def __init__(self) -> None:
        super().__init__("A process that reads the log has ended unexpectedly. Memory may be short; try again.")


class Preparers:
    """Processes that prepare streams. Use it with `with`: they are gone at the end."""

    def __init__(
        self, log: FileLog, projections: dict[str, Sequence[Projection]], count: int, *, is_idle: bool
    ) -> None:
        prints = (f"{plugin}={fingerprint(found)}" for plugin, found in projections.items())
        arguments = [f"--root={log.root}", f"--state-dir={log.state_dir}", *(["--idle"] if is_idle else []), *prints]
        if isinstance(log, PastLog):
            arguments.insert(0, f"--until={log.until!r}")
        self._processes: list[subprocess.Popen[bytes]] = []
        self._connections: list[Connection] = []
        for _ in range(count):
            ours, theirs = socket.socketpair()
            with theirs:
                command = [
                    sys.executable,
                    "-c",
                    _START,
                    f"--socket={theirs.fileno()}",
                    *arguments,
                ]
                self._processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),)))
            self._connections.append(Connection(ours.detach()))

    def __enter__(self) -> Preparers:
        return self

    def __exit__(self, *exception: object) -> None:
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            process.terminate()
            process.wait()

    def prepare(self, groups: Iterable[list[Stream]]) -> Iterator[list[Message]]:
        """What becomes of the streams; those of one stream are in order. PreparationEnded if a process ends."""
        left = iter(groups)
        open_groups = {connection.fileno(): 0 for connection in self._connections}
        by_number = {connection.fileno(): connection for connection in self._connections}
        try:
            for _ in range(_GROUPS_AHEAD):
                for connection in self._connections:
                    open_groups[connection.fileno()] += _send_next(connection, left)
            while any(open_groups.values()):
                ready = cast("list[Connection]", wait([by_number[n] for n, count in open_groups.items() if count]))
                for connection in ready:
                    messages = [
                        Prepared.unpacked(cast("tuple[Any, ...]", item)) if type(item) is tuple else cast(Message, item)
                        for item in connection.recv()
                    ]
                    if messages and isinstance(messages[-1], GroupDone):
                        open_groups[connection.fileno()] += _send_next(connection, left) - 1
                        messages.pop()
                    yield messages
        except (EOFError, OSError):
            raise PreparationEnded from None


def _send_next(connection: Connection, groups: Iterator[list[Stream]]) -> int:
    group = next(groups, None)
    if group is not None:
        connection.send(group)
    return int(group is not None)


# ── in the other process ────────────────────────────────────────────────────


def _serve(
    connection: Connection, log: FileLog, projections: dict[str, Sequence[Projection]], patience: Patience
) -> None:
    how = preparing(projections)
    waiting: list[object] = []
    size = 0

    def flush() -> None:
        nonlocal size
        connection.send(waiting)
        waiting.clear()
        size = 0

    while True:
        try:
            group = cast("list[Stream]", connection.recv())
        except EOFError:
            return
        try:
            for message in prepare(log, how, group, patience):
                if isinstance(message, Prepared):
                    waiting.append(message.packed())
                    size += message.bytes
                else:
                    waiting.append(message)
                if len(waiting) >= _MESSAGES_AT_ONCE or size >= _BYTES_AT_ONCE:
                    flush()
        except PreparationFailed as failure:  # the rebuild ends: the next stream would fail as slowly
            waiting.append(Failed(failure.plugin, failure.reason))
            flush()
            return
        waiting.append(GroupDone())
        flush()


def main() -> int:
    """Prepare what is asked for, until the socket is closed; the exit status."""
    parser = argparse.ArgumentParser(prog="runicorn.projection.preparing")
    parser.add_argument("--socket", type=int, required=True)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--idle", action="store_true")
    parser.add_argument("--until", type=float, help="only events up to this time")
    parser.add_argument("plugins", nargs="+", help="name=fingerprint of the projections")
    arguments = parser.parse_args()
    if arguments.idle:
        os.nice(_IDLE)
    wanted = dict(item.rsplit("=", 1) for item in arguments.plugins)
    host = PluginHost.load(Selection(frozenset(wanted)))
    projections = {plugin.name: found for plugin, found in host.collect("projections")}
    if {name: fingerprint(found) for name, found in projections.items() if name in wanted} != wanted:
        return 1
    gc.collect()
    gc.freeze()
    gc.disable()
    connection = Connection(arguments.socket)
    root, state_dir, until = arguments.root, arguments.state_dir, arguments.until
    log = FileLog(root, state_dir) if until is None else PastLog(root, state_dir, until)
    try:
        _serve(connection, log, {name: projections[name] for name in wanted}, host.patience)
    except (BrokenPipeError, ConnectionResetError):
        return 0
    return 0
