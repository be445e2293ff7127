"""An opened storage root, as an API worker sees it: read models to query, a log to append to.

A command is: validate, `append`, and the answer's next read shows it. Routes take a `store: Store` parameter.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from runicorn.errors import ReadModelBehind, StorageUnavailable
from runicorn.events.discovery import is_attached
from runicorn.events.envelope import Payload
from runicorn.events.log import FileLog, Stream
from runicorn.events.positions import Positions
from runicorn.events.store import StoreStream
from runicorn.host import PluginHost
from runicorn.owned import Owned
from runicorn.projection.client import ProjectorClient
from runicorn.projection.news import follow_news
from runicorn.projection.reading import ModelReader
from runicorn.projection.wire import Committed, News, Status

T = TypeVar("T")

_COMMAND_TIMEOUT_S = 5.0
_READ_TIMEOUT_S = 0.25
_DISCOVER_S = 2.0  # to say that there is no such run, a busy projector is worth waiting for
_FIRST_START_S = 3.0
_CLOSE_S = 1.0


Bring = Callable[[str, str | None], Awaitable[None]]
"""Takes the key of a run, and the file of it that is wanted; None: what its process logs."""


class Store:
    """One storage root with its state directory. Open it with `async with`."""

    def __init__(self, root: Path, state_dir: Path, host: PluginHost, *, is_leader: bool = True) -> None:
        self.root = root
        self.state_dir = state_dir
        self.leaving = asyncio.Event()
        """Set when the server stops or turns to another root: answers that would not end by themselves end now."""
        self.is_leader = is_leader
        """True in exactly one API worker: the one that does periodic work."""
        self.before_reading: list[Bring] = []
        """Called before a run in an attached cache is read, by `bring`: whoever attached it brings it up to date. A call that
        fails or takes long holds up every read of that run."""
        self.as_of: float | None = None
        """Where the store is shown as it was: the moment, in Unix seconds. None: it is live."""
        self.log = FileLog(root, state_dir)
        self.client = ProjectorClient(state_dir)
        self._commands = StoreStream(self.log)
        self._positions = Positions(self.log, may_hang=False)
        self._owned = Owned(self)
        self._readers = {
            plugin.name: ModelReader(state_dir, plugin.name, projections)
            for plugin, projections in host.collect("projections")
        }
        self.client.on_commit(self._move_readers)

    async def __aenter__(self) -> Store:
        self._positions = Positions(self.log, may_hang=await asyncio.to_thread(_may_hang, self.root))
        await self.client.start()
        await self._wait_for_models()
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.leaving.set()
        await self._owned.close(_CLOSE_S)
        await self.client.stop()
        self._positions.close()
        for reader in self._readers.values():
            reader.reopen()

    def now(self) -> float:
        """The time that answers are about, in Unix seconds: that of the clock, or the moment as of which the store is shown."""
        return time.time()

    def own(self, kind: Callable[[Store], T]) -> T:
        """The one object of a class that belongs to this store, made on first use: caches, shared watchers, ….

        An object with a method `close` is closed with the store.
        """
        return self._owned.get(kind)

    def model(self, plugin: str) -> ModelReader:
        """The read model of a plugin. StorageUnavailable if the plugin is not enabled or has none."""
        reader = self._readers.get(plugin)
        if reader is None:
            raise StorageUnavailable(f"The plugin {plugin} is not enabled")
        return reader

    async def append(self, *payloads: Payload) -> None:
        """Carry out a command: append events to the store stream and wait until they are visible to every reader.

        StorageUnavailable if nothing was recorded; ReadModelBehind if it is recorded, but not visible after 5 s.
        """
        await self.until_visible(await asyncio.to_thread(self.record, *payloads))

    def record(self, *payloads: Payload, ts: float | None = None) -> Stream:
        """Append events to the store stream, in a thread that may block: `append` without waiting until they are visible.

        `ts` is when they became true (default: now). The stream that they are in now is for `until_visible`.
        StorageUnavailable if nothing was recorded.
        """
        return self._commands.append(*payloads, ts=ts)[0]

    async def until_visible(self, *streams: Stream) -> None:
        """Wait until every reader sees all that these streams hold now. ReadModelBehind if that takes more than 5 s."""
        for stream in streams:
            if not await self.client.apply(stream, timeout_s=_COMMAND_TIMEOUT_S):
                raise ReadModelBehind

    async def catch_up(self, plugin: str, stream: Stream) -> None:
        """Make the next query of `plugin` exact for one stream: everything complete on disk before this call is in it.

        Costs one `stat` when nothing is new. After 250 ms the query answers from what is there, also where a network
        file system does not answer.
        """
        model = self.model(plugin)
        deadline = time.monotonic() + _READ_TIMEOUT_S
        try:
            if model.is_level(stream, await self._positions.of(stream)):
                return
        except TimeoutError:
            pass
        await self.client.apply(stream, timeout_s=max(0.0, deadline - time.monotonic()))

    async def look(self, key: str) -> None:
        """Make the next query exact for the files of one run or artifact (its key), whoever wrote them: 0.4.0, too.

        Costs a round trip to the projector, and a few `stat`s there. After 250 ms the query answers from what is there.
        """
        await self.client.look(key, timeout_s=_READ_TIMEOUT_S)

    async def bring(self, key: str, file: str | None = None) -> None:
        """Have a run of a server brought up to date before it is read (`find_run` does that), or one file of it.

        Nothing happens for runs whose files are here.
        """
        if is_attached(key):
            for bring in self.before_reading:
                await bring(key, file)

    async def discover(self) -> None:
        """Have new run directories found now, instead of with the next notice or sweep."""
        await self.client.discover(timeout_s=_DISCOVER_S)

    def feed(self) -> AsyncIterator[Committed]:
        """Notices of commits from now on; their events are in the log."""
        return self.client.feed()

    def news(self) -> AsyncGenerator[list[News]]:
        """What was added to the log, commit by commit: first as far back as the journal of commits reaches, then on and on.

        Each is told once it is in every read model; its events are in the log. Numbers are consecutive within an epoch, and
        mean the same after a restart of the server and in every worker. What was missed is said by `after_gap`.
        """
        return follow_news(self.client, self.state_dir)

    async def projector_status(self) -> Status | None:
        """The projector's state; None if it does not answer."""
        reply = await self.client.status()
        return None if reply is None else reply.status

    async def _wait_for_models(self) -> None:
        """Give the projector a moment to build read models that are new; where that takes longer, reads answer 503."""
        deadline = time.monotonic() + _FIRST_START_S
        for reader in self._readers.values():
            while not reader.is_readable() and time.monotonic() < deadline:  # noqa: ASYNC110 - a file of another process
                await asyncio.sleep(0.01)

    def _move_readers(self, notice: Committed) -> None:
        if notice.moved:
            for reader in self._readers.values():
                reader.reopen()


def _may_hang(root: Path) -> bool:
    from runicorn.projection.watching import needs_polling  # not before: the command line does without watchfiles

    return needs_polling(root)
