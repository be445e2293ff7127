"""Whether remote runs are shown, and from which cache: at most one adapter, or a cache that is open without connection."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import msgspec

from runicorn.plugin import RunicornError, Store
from runicorn_remote.connection import Connection
from runicorn_remote.errors import RemoteError
from runicorn_remote.events import Journal, RemoteSynced
from runicorn_remote.mirror.source import RemoteSource
from runicorn_remote.registry import Registry
from runicorn_remote.smart.adapter import Adapter, Stats, stats_of
from runicorn_remote.smart.attaching import attach, detach_all, run_in, tell_origins
from runicorn_remote.smart.cache import Cache
from runicorn_remote.smart.cleanup import Cleaned, clean_up
from runicorn_remote.smart.downloads import DownloadRunning, Downloads
from runicorn_remote.smart.offline import newest_cache
from runicorn_remote.smart.sync import SyncProgress

logger = logging.getLogger("runicorn.remote")

_WAIT_S = 3.0
_FILE_WAIT_S = 10.0

Mode = Literal["local", "remote"]


class NothingCached(RemoteError):
    """There is neither a connection nor a cache."""

    status, code = 400, "not_connected"

    def __init__(self) -> None:
        super().__init__("Cannot switch to remote mode: not connected. Please connect first.")


class Smart:
    """The smart mode of this server process. Calls that change it block, for threads; the rest answers from memory."""

    def __init__(
        self,
        registry: Registry,
        current_store: Callable[[], Store],
        threads: ThreadPoolExecutor,
        journal: Journal,
        *,
        on_mode: Callable[[Mode], object],
    ) -> None:
        """`on_mode` is called, in any thread, with what is shown from now on."""
        self._journal = journal
        self._told: RemoteSynced | None = None
        self._threads = threads
        self._registry = registry
        self._current_store = current_store
        self._mutex = threading.RLock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._followed: Store | None = None
        self.downloads = Downloads()
        self.adapter: Adapter | None = None
        self.offline: Cache | None = None
        self._bringing: dict[tuple[Adapter, str, str | None], asyncio.Future[None]] = {}
        """What is under way: those who ask for the same wait for it together, in one thread. For the event loop."""
        self._mode: Mode = "local"
        self._on_mode = on_mode

    def bind(self, store: Store) -> None:
        """On the event loop, before a call that changes something: which store shows what is cached."""
        self._loop = asyncio.get_running_loop()
        if self._followed is not store:
            self._followed = store
            store.before_reading.append(self._bring)

    def begin(
        self, connection: Connection, source: RemoteSource, *, auto_sync: bool, minutes: int, sync_now: bool
    ) -> None:
        """Make this the smart mode; the former one ends when the new one is there.

        The same source on the same connection only gets the new settings. CacheBusy, StorageUnavailable.
        """
        with self._mutex:
            former = self.adapter
            if former is not None and former.source == source:
                if former.connection is connection:
                    former.configure(auto_sync=auto_sync, interval_minutes=minutes)
                    if sync_now:
                        former.request_sync()
                    self._show(former.cache)
                    return
                self._end(former)  # the lock of the cache is needed
                former = self.adapter = None
            adapter = Adapter(
                connection,
                source,
                auto_sync=auto_sync,
                interval_minutes=minutes,
                after_sync=self._after_sync,
                tell=lambda progress: self._tell_result(source, progress),
            )
            try:
                self._registry.hold(connection, adapter)
                self._show(adapter.cache)
            except BaseException:
                adapter.cache.close()
                self._registry.release(connection, adapter)
                if former is None:
                    self._set_mode("local")
                else:
                    self._show(former.cache)
                raise
            if former is not None:
                self._end(former)
            self._close_offline()
            self.adapter = adapter
            adapter.start(sync_now=sync_now)

    def end(self) -> None:
        """Have no smart mode; the cache stays, and nothing remote is shown."""
        with self._mutex:
            adapter, self.adapter = self.adapter, None
            if adapter is not None:
                self._end(adapter)
            self._close_offline()
            self._hide()

    def switch(self, mode: Mode) -> None:
        """Show remote runs, or do not. NothingCached if there is nothing to show."""
        with self._mutex:
            if mode == "local":
                self._close_offline()
                self._hide()
                return
            cache = self.cache
            if cache is None:
                cache = self.offline = newest_cache()
            if cache is None:
                raise NothingCached
            self._show(cache)

    def clear_cache(self, adapter: Adapter) -> None:
        """Forget what is cached. DownloadRunning."""
        if self.downloads.active:
            raise DownloadRunning
        adapter.clear_cache()

    def clean_up(self) -> Cleaned:
        """Make the open cache small enough, without what is being downloaded. Nothing happens if none is open."""
        cache = self.cache
        if cache is None:
            return Cleaned()
        return clean_up(cache, {task.target for task in self.downloads.tasks() if task.is_running})

    def clean_up_quietly(self) -> None:
        """After a download, whose end it must not spoil."""
        try:
            self.clean_up()
        except (RunicornError, OSError) as error:
            logger.info("the cache could not be cleaned up: %s", error)

    def show_again(self) -> None:
        """After a switch of the storage root: show there what was shown before."""
        with self._mutex:
            if self.mode == "remote" and self.cache is not None:
                self._show(self.cache)

    @property
    def mode(self) -> Mode:
        """Whether remote runs and artifacts are shown."""
        return self._mode

    @property
    def cache(self) -> Cache | None:
        """The cache that is open."""
        return self.offline if self.adapter is None else self.adapter.cache

    @property
    def stats(self) -> Stats | None:
        """What the open cache holds, from memory; None if none is open."""
        if self.adapter is not None:
            return self.adapter.stats()
        return None if self.offline is None else stats_of(self.offline)

    def _set_mode(self, mode: Mode) -> None:
        self._mode = mode
        self._on_mode(mode)

    def _show(self, cache: Cache) -> None:
        store = self._current_store()
        detach_others = self.mode == "remote"
        if detach_others:
            detach_all(store.root)
        attach(store.root, cache)
        self._set_mode("remote")
        self._tell(cache)

    def _hide(self) -> None:
        self._set_mode("local")
        detach_all(self._current_store().root)
        self._discover()

    def _end(self, adapter: Adapter) -> None:
        self.downloads.cancel_all()
        adapter.stop()
        self._registry.release(adapter.connection, adapter)

    def _close_offline(self) -> None:
        offline, self.offline = self.offline, None
        if offline is not None:
            offline.close()

    def _after_sync(self, adapter: Adapter) -> None:
        if self.adapter is adapter and self.mode == "remote":
            self._tell(adapter.cache)

    def _tell(self, cache: Cache) -> None:
        store = self._current_store()
        try:
            tell_origins(store.root, cache, store.record)
        except RunicornError as error:
            logger.warning("the origin of remote runs is not recorded yet: %s", error)
        self._discover()

    def _tell_result(self, source: RemoteSource, progress: SyncProgress) -> None:
        """Tell the log how a sync ended, unless that is what it knows already."""
        result = RemoteSynced(
            source=source.target.connection_id,
            remote_root=source.root,
            status=progress.status,
            files=progress.synced_files,
            bytes=progress.synced_bytes,
            errors=len(progress.errors),
        )
        if progress.synced_files or result != self._told:
            self._journal.tell(result)
        self._told = msgspec.structs.replace(result, files=0, bytes=0)

    def _discover(self) -> None:
        loop, store = self._loop, self._followed
        if loop is not None and store is not None and not loop.is_closed():
            asyncio.run_coroutine_threadsafe(store.discover(), loop)

    async def _bring(self, key: str, file: str | None) -> None:
        """Bring a run up to date that is about to be read, or a file of it; after some seconds it is read as it is."""
        adapter = self.adapter
        run = None if adapter is None else run_in(adapter.cache, key)
        if adapter is None or run is None or not adapter.connection.is_alive:
            return
        if file is None and adapter.tails.is_fresh(run):
            return
        wanted = (adapter, run, file)
        bringing = self._bringing.get(wanted)
        if bringing is None:
            loop = asyncio.get_running_loop()
            bringing = loop.run_in_executor(self._threads, _bring_quietly, adapter, run, file)
            self._bringing[wanted] = bringing
            bringing.add_done_callback(lambda _: self._bringing.pop(wanted, None))
        try:
            await asyncio.wait_for(asyncio.shield(bringing), _WAIT_S if file is None else _FILE_WAIT_S)
        except TimeoutError:
            logger.debug("a remote run is read before it was brought up to date")


def _bring_quietly(adapter: Adapter, run: str, file: str | None) -> None:
    try:
        if file is None:
            adapter.tails.bring(run)
        else:
            adapter.tails.bring_file(run, file)
    except (RunicornError, OSError) as error:
        logger.info("a remote run could not be brought up to date: %s", error)
