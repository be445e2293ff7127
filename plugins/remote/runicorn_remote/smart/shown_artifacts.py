"""What is shown of a server's artifacts while remote mode is on: read from the open cache, changed on the server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec

from runicorn.plugin import PlaceCopies, PlaceState
from runicorn_remote.errors import RemoteError
from runicorn_remote.events import Journal, of_write
from runicorn_remote.smart import changes
from runicorn_remote.smart.adapter import Adapter
from runicorn_remote.smart.mode import Smart

T = TypeVar("T")
V = TypeVar("V", int, int | None)


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

    def __init__(self, smart: Smart, threads: ThreadPoolExecutor, journal: Journal) -> None:
        self._journal = journal
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
        await self._change("deleted", changes.soft_delete, key, version)

    async def restore(self, key: str, version: int) -> None:
        """See `ArtifactPlace`."""
        await self._change("restored", changes.restore, key, version)

    async def purge(self, key: str, version: int) -> int:
        """See `ArtifactPlace`."""
        return await self._change("purged", changes.purge, key, version)

    async def set_alias(self, key: str, alias: str, version: int | None) -> None:
        """See `ArtifactPlace`."""
        await self._change(
            "alias", lambda adapter, key, version: changes.set_alias(adapter, key, alias, version), key, version, alias
        )

    async def _change(self, what: str, change: Callable[[Adapter, str, V], T], key: str, version: V, *values: str) -> T:
        """Carry it out, and have the log told."""
        adapter = self._smart.adapter
        if adapter is None:
            raise RemoteModeNotConnected
        if not adapter.connection.is_alive:
            raise RemoteModeLost

        def act() -> T:
            result = change(adapter, key, version)
            self._journal.tell(of_write(adapter.source, what, key, version, *values))
            return result

        return await asyncio.get_running_loop().run_in_executor(self._threads, act)
