"""An API worker's connection to the projector, against a peer that says what a projector would not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

from runicorn.projection.client import ProjectorClient
from runicorn.projection.wire import Committed, Reply, Request, decode_message, encode_message, publish_address


class Peer:
    """Says `first` on its first connection, and answers requests on all others."""

    def __init__(self, first: bytes) -> None:
        self.tasks: list[asyncio.Task[object] | None] = []
        self._first = first

    @property
    def connections(self) -> int:
        return len(self.tasks)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tasks.append(asyncio.current_task())
        is_first = self.connections == 1
        if is_first:
            writer.write(self._first)
        while line := await reader.readline():
            request = decode_message(line)
            if isinstance(request, Request) and not is_first:
                writer.write(encode_message(Reply(request.id)) + b"\n")
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def discovers_after(
    state: Path, first: bytes, listener: Callable[[Committed], None] = lambda notice: None
) -> tuple[bool, int]:
    """Whether a request is answered in the end, and by which connection."""
    peer = Peer(first)
    server = await asyncio.start_unix_server(peer.talk, state / "socket")
    publish_address(state, state / "socket")
    client = ProjectorClient(state)
    client.on_commit(listener)
    await client.start()
    found = await client.discover(timeout_s=30.0)
    await client.stop()
    server.close()
    await asyncio.wait([task for task in peer.tasks if task is not None])
    return found, peer.connections


def test_a_line_that_is_too_long_costs_the_connection_and_not_the_worker(tmp_path: Path) -> None:
    assert asyncio.run(discovers_after(tmp_path, b"x" * (5 << 20))) == (True, 2)


def test_a_listener_that_raises_costs_the_connection_and_not_the_worker(tmp_path: Path) -> None:
    def listener(notice: Committed) -> None:
        raise RuntimeError("a bug")

    assert asyncio.run(discovers_after(tmp_path, encode_message(Committed(1)) + b"\n", listener)) == (True, 2)
