"""An API worker's connection to the projector: requests with replies, and notices after each commit."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncIterator, Callable, Generator
from pathlib import Path
from typing import Literal

import msgspec

from runicorn.events.log import Stream
from runicorn.projection.wire import (
    Committed,
    News,
    Reply,
    Request,
    decode_message,
    encode_message,
    published_address,
)

logger = logging.getLogger("runicorn.projection")

_RECONNECT_S = 0.1
_FEED_QUEUE = 1000  # notices that a slow subscriber may fall behind; then it is told to look for itself


class ProjectorClient:
    """Talks to the projector of a state directory, reconnecting by itself for as long as it is running."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._writer: asyncio.StreamWriter | None = None
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._subscribers: set[asyncio.Queue[Committed]] = set()
        self._listeners: list[Callable[[Committed], None]] = []
        self._task: asyncio.Task[None] | None = None
        self._connected = asyncio.Event()

    @property
    def connected(self) -> bool:
        """Whether the projector can be asked now."""
        return self._connected.is_set()

    async def start(self) -> None:
        """Begin to connect; returns at once."""
        self._task = asyncio.create_task(self._run(), name="projector-client")

    async def stop(self) -> None:
        """Disconnect; waiting requests fail."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def on_commit(self, listener: Callable[[Committed], None]) -> None:
        """Call `listener` for every notice, on the event loop. It must be quick."""
        self._listeners.append(listener)

    async def apply(self, stream: Stream, *, timeout_s: float) -> bool:
        """Wait until the projector has applied all that the stream holds now; False if it did not in time."""
        reply = await self._ask("apply", timeout_s, stream.name)
        return reply is not None and reply.ok

    async def look(self, key: str, *, timeout_s: float) -> bool:
        """Wait until what the files of a run or artifact say is in the read models; False if it is not in time."""
        return await self._ask("look", timeout_s, key) is not None

    async def discover(self, *, timeout_s: float) -> bool:
        """Wait until the projector has looked for new run directories; False if it did not in time."""
        return await self._ask("discover", timeout_s) is not None

    async def status(self, *, timeout_s: float = 0.05) -> Reply | None:
        """The projector's own view of itself; None if it does not answer."""
        return await self._ask("status", timeout_s)

    async def feed(self) -> AsyncIterator[Committed]:
        """Every notice from now on. A subscriber that falls behind gets one without streams: look for yourself."""
        with self.subscribed() as queue:
            while True:
                yield await queue.get()

    @contextlib.contextmanager
    def subscribed(self) -> Generator[asyncio.Queue[Committed]]:
        """A queue that gets every notice from now on, like `feed`."""
        queue: asyncio.Queue[Committed] = asyncio.Queue(_FEED_QUEUE)
        self._subscribers.add(queue)
        try:
            yield queue
        finally:
            self._subscribers.discard(queue)

    async def _ask(
        self, op: Literal["apply", "look", "discover", "status"], timeout_s: float, stream: str = ""
    ) -> Reply | None:
        deadline = asyncio.get_running_loop().time() + timeout_s
        request_id = next(self._ids)
        request = Request(request_id, op, stream)
        try:
            async with asyncio.timeout_at(deadline):
                while True:
                    await self._connected.wait()
                    future = self._waiting[request_id] = asyncio.get_running_loop().create_future()
                    try:
                        if self._writer is None:
                            continue
                        self._writer.write(encode_message(request) + b"\n")
                        return await future
                    except (ConnectionError, asyncio.CancelledError):
                        # The projector died: its successor gets the same request, if there is time.
                        if not future.cancelled() or _cancelling():
                            raise
                    finally:
                        self._waiting.pop(request_id, None)
        except (TimeoutError, ConnectionError):
            return None

    async def _run(self) -> None:
        while True:
            address = published_address(self._state_dir)
            if address is not None:
                try:
                    await self._converse(address)
                except OSError:
                    pass
                except Exception:  # this task must not end: without it the worker is cut off for its life
                    logger.exception("the connection to the projector failed, and is made again")
            await asyncio.sleep(_RECONNECT_S)

    async def _converse(self, address: str) -> None:
        reader, writer = await asyncio.open_unix_connection(address, limit=1 << 22)
        try:
            await self._receive(reader, writer)
        finally:
            self._disconnected()
            writer.close()

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._connected.set()
        while line := await reader.readline():
            try:
                message = decode_message(line)
            except msgspec.DecodeError:
                logger.warning("the projector sent something unreadable")
                return
            if isinstance(message, Reply):
                future = self._waiting.get(message.id)
                if future is not None and not future.done():
                    future.set_result(message)
            elif isinstance(message, Committed):
                self._publish(message)

    def _publish(self, notice: Committed) -> None:
        for listener in self._listeners:
            listener(notice)
        for queue in self._subscribers:
            if queue.full():
                while not queue.empty():
                    queue.get_nowait()
                where = notice.news and News(notice.news.epoch, notice.news.number)
                queue.put_nowait(Committed(notice.commit, news=where))
            else:
                queue.put_nowait(notice)

    def _disconnected(self) -> None:
        self._writer = None
        self._connected.clear()
        for future in self._waiting.values():
            future.cancel()


def _cancelling() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
