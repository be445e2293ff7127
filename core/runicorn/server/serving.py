"""The storage root that a worker serves: its store, its projector, the plugins' lifespans. It can change while serving.

A switch opens the new root completely before the old one is left. Requests that run meanwhile finish on the store with
which they began; that store is closed when the last of them has ended, or after five seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path
from typing import TypeVar

import msgspec

from runicorn.artifact_place import ArtifactPlace
from runicorn.config import state_directory
from runicorn.credentials.connections import SavedConnections
from runicorn.errors import StorageUnavailable
from runicorn.host import Plugin, PluginHost, Selection, describe
from runicorn.owned import Owned
from runicorn.patience import BUILT_IN, TookTooLong
from runicorn.root import RootUnusable, WritableRoot, prepare
from runicorn.server.projector_process import ProjectorProcess
from runicorn.store import Store
from runicorn.store_as_of import PastStore
from runicorn.user_config import InvalidRoot, expand_root, prepare_root, remove_made, store_user_root

logger = logging.getLogger("runicorn.server")

T = TypeVar("T")

_LEAVE_S = 1.5  # for all lifespans together
_STARTING_S = 5.0
_GRACE_S = 5.0  # how long requests of the old root may still run after a switch


class Past(msgspec.Struct, frozen=True):
    """A moment, in Unix seconds, and the directory with the read models of then."""

    as_of: float
    models_dir: Path


SwitchTogether = Callable[[Path, bool], Awaitable[None]]
"""Takes the root, and whether it is to be stored as the user's."""


class Serving:
    """What is served now. Routes take it as the parameter `serving: Serving`: to switch the root, and for saved secrets."""

    def __init__(
        self,
        host: PluginHost,
        root: Path,
        state_dir: Path,
        *,
        is_leader: bool = True,
        log_level: str = "info",
        reference_key: bytes | None = None,
        past: Past | None = None,
    ) -> None:
        self.host = host
        self.connections = SavedConnections(reference_key)
        """The user's saved SSH connections, and what references to their secrets stand for."""
        self.past = past
        """What is shown in place of a live store."""
        self._first = (root, state_dir)
        self._is_leader = is_leader
        self._log_level = log_level
        self._current: _Opened | None = None
        self._next: _Opened | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._mutex = asyncio.Lock()
        self._owned = Owned(self)
        self.on_switch: list[Callable[[Path], Awaitable[None]]] = []
        """Called with the new root after every switch."""
        self.artifact_place: ArtifactPlace | None = None
        """Set by a plugin: where the artifacts are that are shown instead of those in the root. May be set in any thread."""
        self.switch_together: SwitchTogether | None = None
        """Set in one of several workers: asks for a switch of all of them."""

    @property
    def store(self) -> Store:
        """The store that requests use. StorageUnavailable before the start and after the end."""
        if self._current is None:
            raise StorageUnavailable
        return self._current.store

    @property
    def projector(self) -> ProjectorProcess | None:
        """The projector process; None in a worker that is not the leader."""
        return self._current.projector if self._current else None

    @property
    def is_starting(self) -> bool:
        """Whether the root was opened so recently that its projector may not be up yet."""
        return self._current is not None and time.monotonic() - self._current.since < _STARTING_S

    @property
    def is_writable(self) -> bool:
        """Whether the root could be written when it was last looked at, a few seconds ago."""
        return self._current is not None and self._current.writable.is_writable

    def own(self, kind: Callable[[Serving], T]) -> T:
        """The one object of a kind that belongs to this worker, whatever root it serves; see `Store.own`."""
        return self._owned.get(kind)

    def leave(self) -> None:
        """Tell what would not end by itself that the server is about to stop."""
        if self._current is not None:
            self._current.store.leaving.set()

    async def start(self) -> None:
        """Open the root that the server was started with. RootUnusable if it cannot be."""
        self._current = await (self._open(*self._first) if self.past is None else self._open_past(self.past))

    async def stop(self) -> None:
        """Leave the lifespans, close the store, end the projector."""
        await self.abandon()
        await self._owned.close(_LEAVE_S)
        current, self._current = self._current, None
        for task in self._closing:
            task.cancel()
        if self._closing:
            await asyncio.wait(self._closing, timeout=_LEAVE_S)
        if current is not None:
            await self._close(current)

    @contextlib.contextmanager
    def request(self) -> Generator[None]:
        """Around a request: the store that is current when it begins stays open until it ends, or for five seconds."""
        opened = self._current
        if opened is None:
            yield
            return
        opened.requests += 1
        try:
            yield
        finally:
            opened.requests -= 1
            if not opened.requests:
                opened.is_idle.set()

    # ── another root ────────────────────────────────────────────────────────

    async def change_root(self, text: object) -> Path:
        """What a user wants as the storage root from now on, and after the next start: check, create, store, and switch.

        The new root. InvalidRoot, NotSaved or another error leaves the configuration and what is served as they were.
        """
        root = expand_root(text)
        made = await asyncio.to_thread(prepare_root, root)
        try:
            await self.switch(root, remember=True)
        except BaseException as error:
            await asyncio.to_thread(remove_made, made)
            if isinstance(error, RootUnusable):
                raise InvalidRoot from error
            raise
        return root

    async def switch(self, root: Path, *, remember: bool = False) -> None:
        """Serve another root from now on, in all workers, with its own state directory.

        `remember` stores it as the user's root, too. RootUnusable, NotSaved or StorageUnavailable leaves everything as it
        was.
        """
        async with self._mutex:
            if self._current is not None and await asyncio.to_thread(_is_same, self._current.store.root, root):
                if remember:
                    await asyncio.to_thread(store_user_root, root)
            elif self.switch_together is not None:
                await self.switch_together(root, remember)
            else:
                await self.prepare(root)
                try:
                    if remember:
                        await asyncio.to_thread(store_user_root, root)
                except BaseException:
                    await self.abandon()
                    raise
                await self.commit()

    async def prepare(self, root: Path) -> None:
        """First half of a switch: open another root beside the current one. RootUnusable."""
        await self.abandon()
        self._next = await self._open(root, state_directory(root))

    async def commit(self) -> None:
        """Second half: serve what `prepare` has opened. Cannot fail."""
        opened, self._next = self._next, None
        if opened is None:
            return
        old, self._current = self._current, opened
        logger.info("the storage root is now %s", opened.store.root)
        for listener in self.on_switch:
            try:
                await listener(opened.store.root)
            except Exception:  # the switch is done, whatever else goes wrong
                logger.exception("after a switch of the storage root")
        if old is not None:
            old.store.leaving.set()
            task = asyncio.create_task(self._close_later(old))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def abandon(self) -> None:
        """The other end of a switch: close what `prepare` has opened."""
        opened, self._next = self._next, None
        if opened is not None:
            await self._close(opened)

    async def _open(self, root: Path, state_dir: Path) -> _Opened:
        await asyncio.to_thread(prepare, root, state_dir)
        projector = None
        store = Store(root, state_dir, self.host, is_leader=self._is_leader)  # first: it may disable plugins
        if self._is_leader:
            arguments = [*_selected(self.host).arguments(), "--log-level", self._log_level]
            projector = ProjectorProcess(root, state_dir, arguments)
        opened = _Opened(store, projector)
        try:
            if projector is not None:
                await projector.start()
            await opened.store.__aenter__()
            for plugin in list(self.host):
                await self._enter(plugin, opened)
            opened.writable.is_writable = await asyncio.to_thread(opened.writable.look)
        except BaseException:
            await self._close(opened)
            raise
        opened.probe = asyncio.create_task(opened.writable.watch(), name="writable-root")
        return opened

    async def _open_past(self, past: Past) -> _Opened:
        """Without a projector, and without what plugins do beside answering: that would be of now, and write."""
        root, state_dir = self._first
        opened = _Opened(PastStore(root, state_dir, past.models_dir, self.host, past.as_of), None)
        await opened.store.__aenter__()
        return opened

    async def _enter(self, plugin: Plugin, opened: _Opened) -> None:
        limit_s = None if plugin.name in BUILT_IN else self.host.patience.limit_s
        timeout = asyncio.timeout(limit_s)
        try:
            async with timeout:
                lifespan = self.host.call(plugin, "lifespan", store=opened.store)
                if lifespan is not None:
                    await opened.lifespans.enter_async_context(lifespan)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a stranger's code: whatever it raises concerns this plugin alone
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise
            reason = f"has not been entered for {limit_s:g} s" if timeout.expired() else describe(error)
            self.host.fail(plugin, f"lifespan: {reason}", error)

    async def _close_later(self, opened: _Opened) -> None:
        if opened.requests:
            opened.is_idle.clear()  # it may have been idle before; new requests do not come any more
        else:
            opened.is_idle.set()
        with contextlib.suppress(asyncio.CancelledError, TimeoutError):
            await asyncio.wait_for(opened.is_idle.wait(), _GRACE_S)
        await self._close(opened)

    async def _close(self, opened: _Opened) -> None:
        if opened.probe is not None:
            opened.probe.cancel()
        try:
            async with asyncio.timeout(_LEAVE_S):
                await opened.lifespans.aclose()
        except TimeoutError:
            logger.warning("a plugin did not stop in time")
        except (Exception, SystemExit, TookTooLong):  # a stranger's code must not keep the rest from being closed
            logger.exception("a plugin did not stop cleanly")
        try:
            await opened.store.__aexit__()  # first: what plugins left in the store may still record something
        finally:
            if opened.projector is not None:
                await opened.projector.stop()


class _Opened:
    """Everything that belongs to one open root."""

    def __init__(self, store: Store, projector: ProjectorProcess | None) -> None:
        self.store = store
        self.projector = projector
        self.lifespans = contextlib.AsyncExitStack()
        self.probe: asyncio.Task[None] | None = None
        self.since = time.monotonic()
        self.writable = WritableRoot(store.root)
        self.requests = 0
        self.is_idle = asyncio.Event()
        """Set when the last request ends."""


def _is_same(served: Path, root: Path) -> bool:
    try:
        return served == root or os.path.samefile(served, root)
    except OSError:
        return False


def _selected(host: PluginHost) -> Selection:
    """The plugins that run here, whatever the environment and the configuration say by then."""
    enabled = frozenset(plugin.name for plugin in host)
    return Selection(enabled, frozenset(plugin.name for plugin in host.plugins) - enabled)
