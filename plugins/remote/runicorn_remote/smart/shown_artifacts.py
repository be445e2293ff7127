"""What is shown of a server's artifacts while remote mode is on: read from the open cache, changed on the server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Concatenate, ParamSpec, TypeVar

import msgspec

from runicorn.plugin import PlaceCopies, PlaceState
from runicorn_remote.errors import RemoteError
from runicorn_remote.smart import changes
from runicorn_remote.smart.adapter import Adapter
from runicorn_remote.smart.mode import Smart

P = ParamSpec("P")
T = TypeVar("T")


class RemoteModeNotConnected(RemoteError):
    """Remote artifacts are shown without a connection: from a cache, or there is not even one."""

    status, code = 400, "not_connected"

    def __init__(self) -> None:
        super().__init__("Remote mode enabled but not connected. Please connect to remote server first.")


class RemoteModeLost(RemoteError):
    """The connection is lost; it is being made again."""

    status, code = 400, "not_connected"

    def __init__(self) -> None:
        super().__init__("Remote connection is not active. Please reconnect.")


class RemoteArtifacts:
    """An `ArtifactPlace`. Reading needs an open cache, changing a connection."""

    title = "remote server"

    def __init__(self, smart: Smart, threads: ThreadPoolExecutor) -> None:
        self._smart = smart
        self._threads = threads

    @property
    def copies(self) -> PlaceCopies:
        """See `ArtifactPlace`. RemoteModeNotConnected if no cache is open."""
        cache = self._smart.cache
        if cache is None:
            raise RemoteModeNotConnected
        return PlaceCopies(cache.metadata, cache.experiments, cache.revision)

    @property
    def state(self) -> PlaceState:
        """See `ArtifactPlace`."""
        stats = self._smart.stats
        if stats is None:
            raise RemoteModeNotConnected
        return msgspec.convert(stats, PlaceState, from_attributes=True)

    async def soft_delete(self, key: str, version: int) -> None:
        """See `ArtifactPlace`."""
        await self._change(changes.soft_delete, key, version)

    async def restore(self, key: str, version: int) -> None:
        """See `ArtifactPlace`."""
        await self._change(changes.restore, key, version)

    async def purge(self, key: str, version: int) -> int:
        """See `ArtifactPlace`."""
        return await self._change(changes.purge, key, version)

    async def set_alias(self, key: str, alias: str, version: int | None) -> None:
        """See `ArtifactPlace`."""
        await self._change(changes.set_alias, key, alias, version)

    async def _change(self, change: Callable[Concatenate[Adapter, P], T], *what: P.args, **named: P.kwargs) -> T:
        adapter = self._smart.adapter
        if adapter is None:
            raise RemoteModeNotConnected
        if not adapter.connection.is_alive:
            raise RemoteModeLost
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: change(adapter, *what, **named))
