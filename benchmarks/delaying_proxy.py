"""A TCP proxy that delays: `python -m benchmarks.delaying_proxy HOST PORT MILLISECONDS [BYTES]`, in a process of its own.

Whatever arrives is passed on so many milliseconds later, in each direction: 20 make a round trip of 40. BYTES is how many
each connection carries in a second towards the client; it is not limited without. It prints the port on which it listens;
for each line of its input it prints what it has counted so far, as JSON; it ends with its input.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import Callable, Generator

import msgspec

from benchmarks.processes import hear, running, tell

_PIECE_BYTES = 1 << 16
_WAITING_PIECES = 1024


class Counts(msgspec.Struct):
    """What has passed since the start."""

    connections: int = 0
    sent: int = 0
    """Bytes from clients to the server."""
    received: int = 0
    """Bytes from the server to clients."""
    turns: int = 0
    """How often a client spoke after the server had: round trips, of all connections."""

    def since(self, earlier: Counts) -> Counts:
        """What came after an earlier look."""
        return Counts(
            self.connections - earlier.connections,
            self.sent - earlier.sent,
            self.received - earlier.received,
            self.turns - earlier.turns,
        )


class DelayedPort(msgspec.Struct, frozen=True):
    """A running proxy, as the measuring process sees it."""

    port: int
    counts: Callable[[], Counts]
    """What has passed so far."""


class _Pair:
    """One connection of a client, and the one to the server."""

    def __init__(self, counts: Counts, delay_s: float, bytes_per_s: float) -> None:
        self._counts = counts
        self._delay_s = delay_s
        self._bytes_per_s = bytes_per_s
        self._server_spoke = True

    async def pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_from_client: bool
    ) -> None:
        """Pass one direction on until its end."""
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_WAITING_PIECES)
        bytes_per_s = float("inf") if is_from_client else self._bytes_per_s
        writing = asyncio.create_task(self._write(waiting, writer, bytes_per_s))
        loop = asyncio.get_running_loop()
        try:
            while piece := await reader.read(_PIECE_BYTES):
                self._count(len(piece), is_from_client=is_from_client)
                await waiting.put((loop.time() + self._delay_s, piece))
        except OSError:
            pass
        await waiting.put((loop.time() + self._delay_s, b""))
        await writing

    def _count(self, size: int, *, is_from_client: bool) -> None:
        if is_from_client:
            self._counts.sent += size
            self._counts.turns += self._server_spoke
        else:
            self._counts.received += size
        self._server_spoke = not is_from_client

    async def _write(
        self, waiting: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter, bytes_per_s: float
    ) -> None:
        loop = asyncio.get_running_loop()
        is_wanted = True
        while True:
            due, piece = await waiting.get()
            if not piece:
                break
            if is_wanted:  # else who reads goes on nevertheless, and must not wait for room
                await asyncio.sleep(due - loop.time())
                try:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(len(piece) / bytes_per_s)
                except OSError:
                    is_wanted = False
        await asyncio.sleep(due - loop.time())
        with contextlib.suppress(OSError):  # the other direction may go on
            writer.write_eof()


async def _serve(host: str, port: int, delay_s: float, bytes_per_s: float) -> None:
    counts = Counts()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        counts.connections += 1
        try:
            there_reader, there_writer = await asyncio.open_connection(host, port)
        except OSError:
            writer.close()
            return
        for stream in (writer, there_writer):
            stream.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pair = _Pair(counts, delay_s, bytes_per_s)
        await asyncio.gather(
            pair.pass_on(reader, there_writer, is_from_client=True),
            pair.pass_on(there_reader, writer, is_from_client=False),
        )
        writer.close()
        there_writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(msgspec.json.encode(counts).decode(), flush=True)


@contextlib.contextmanager
def delaying(host: str, port: int, delay_s: float, bytes_per_s: float = float("inf")) -> Generator[DelayedPort]:
    """A proxy in front of a server, until the end."""
    arguments = (host, str(port), str(1000 * delay_s), str(bytes_per_s))
    with running("benchmarks.delaying_proxy", *arguments) as process:
        number = int(hear(process))

        def counts() -> Counts:
            tell(process)
            return msgspec.json.decode(hear(process), type=Counts)

        yield DelayedPort(number, counts)


if __name__ == "__main__":
    _rate = float(sys.argv[4]) if len(sys.argv) > 4 else float("inf")
    asyncio.run(_serve(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]) / 1000, _rate))
