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
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple, cast

from msgspec.structs import astuple

from runicorn.errors import RunicornError
from runicorn.events.log import FileLog, Position, Stream, StreamKind, StreamReplaced
from runicorn.events.past import PastLog
from runicorn.host import PluginHost, Selection, describe
from runicorn.patience import Patience
from runicorn.projection.base import Batch, Preparation, PreparesStreams, Projection
from runicorn.projection.checkpoints import Reached
from runicorn.projection.generations import fingerprint

_GROUPS_AHEAD = 2
_MESSAGES_AT_ONCE = 64
_BYTES_AT_ONCE = 1 << 20
_IDLE = 19
# Not `-m`: as `__main__`, its classes would be others than those that are pickled here.
_START = "import sys; from runicorn.projection.preparing import main; sys.exit(main())"


class Prepared(NamedTuple):
    """What a process has made of the next piece of a stream."""

    stream: Stream
    bytes: int
    events: int
    values: dict[str, list[object]]
    """By plugin: what each of its projections prepared."""
    end: Reached | None

    def packed(self) -> tuple[object, ...]:
        """The same in tuples: they pass in half the time that classes take."""
        end = self.end
        reached = None if end is None else (end.offset, astuple(end.position), end.head, end.bad, end.checksum)
        return self.stream.kind, self.stream.name, self.bytes, self.events, self.values, reached

    @classmethod
    def unpacked(cls, packed: tuple[Any, ...]) -> Prepared:
        """What was packed."""
        kind, name, size, events, values, reached = packed
        if reached is None:
            return cls(Stream(kind, name), size, events, values, None)
        offset, position, head, bad, checksum = reached
        return cls(Stream(kind, name), size, events, values, Reached(offset, Position(*position), head, bad, checksum))


class NotPrepared(NamedTuple):
    """The stream changed while it was read, or could not be read: what was sent of it is void."""

    stream: Stream


class PreparationFailed(NamedTuple):
    """A projection raised."""

    plugin: str
    reason: str


class GroupDone(NamedTuple):
    """All streams of a group were sent."""


Message = Prepared | NotPrepared | PreparationFailed | GroupDone


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


Preparing = dict[str, list[tuple[Callable[[Stream], Preparation], frozenset[StreamKind]] | None]]


def _serve(
    connection: Connection, log: FileLog, projections: dict[str, Sequence[Projection]], patience: Patience
) -> None:
    # Whether a projection prepares is asked once: for a protocol, `isinstance` takes microseconds.
    preparing: Preparing = {
        plugin: [(one.preparation, one.streams) if isinstance(one, PreparesStreams) else None for one in found]
        for plugin, found in projections.items()
    }
    waiting: deque[Message] = deque()
    size = 0

    def flush() -> None:
        nonlocal size
        connection.send([item.packed() if isinstance(item, Prepared) else item for item in waiting])
        waiting.clear()
        size = 0

    while True:
        try:
            group = cast("list[Stream]", connection.recv())
        except EOFError:
            return
        for stream in group:
            for message in _prepare(log, preparing, stream, patience):
                waiting.append(message)
                size += message.bytes if isinstance(message, Prepared) else 0
                if isinstance(message, PreparationFailed):  # the rebuild ends: the next stream would fail as slowly
                    flush()
                    return
                if len(waiting) >= _MESSAGES_AT_ONCE or size >= _BYTES_AT_ONCE:
                    flush()
        waiting.append(GroupDone())
        flush()


def _prepare(log: FileLog, preparing: Preparing, stream: Stream, patience: Patience) -> Iterator[Message]:
    preparations: dict[str, list[Preparation | None]] = {}
    for plugin, found in preparing.items():
        try:
            with patience.call(plugin, "preparation"):
                preparations[plugin] = [
                    None if one is None or stream.kind not in one[1] else one[0](stream) for one in found
                ]
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a stranger's projection may raise anything
            yield PreparationFailed(plugin, describe(error))
            return
    after = bad = checksum = 0
    head = b""
    inode: int | None = None
    while True:
        try:
            lines, position, is_level = log.read_part(stream, after=after, head=head)
            if inode not in (None, position.inode) or (lines.end == 0 and log.position(stream) is None):
                raise StreamReplaced  # or no file at all
        except (StreamReplaced, OSError):
            yield NotPrepared(stream)
            return
        inode = position.inode
        head = lines.head if after == 0 else head
        bad += len(lines.bad)
        checksum = lines.checksum(checksum)
        values: dict[str, list[object]] = {}
        # One for all projections: what they decode of a batch together, they find by its identity.
        batch = Batch(stream, 0, lines) if lines.end > lines.start else None
        for plugin, found in preparations.items():
            try:
                with patience.call(plugin, "preparation"):
                    values[plugin] = [_take(one, batch, is_end=is_level) for one in found]
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # a stranger's projection may raise anything
                yield PreparationFailed(plugin, describe(error))
                return
        end = Reached(lines.end, position, head, bad, checksum) if is_level else None
        yield Prepared(stream, lines.end - after, len(lines.events), values, end)
        if end is not None:
            return
        after = lines.end


def _take(preparation: Preparation | None, batch: Batch | None, *, is_end: bool) -> object:
    if preparation is None:
        return None
    if batch is not None:
        preparation.add(batch)
    return preparation.take(is_end=is_end)


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
