"""An active smart mode: one remote root on one connection, its cache, and the thread that keeps the cache up to date."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Literal

import msgspec

from runicorn.plugin import RunicornError
from runicorn_remote.attempt import Attempt
from runicorn_remote.connection import Connection
from runicorn_remote.connector import Connected
from runicorn_remote.errors import ConnectFailed, ConnectionLost
from runicorn_remote.mirror.progress import one_line
from runicorn_remote.mirror.source import RemoteSource
from runicorn_remote.smart.cache import Cache
from runicorn_remote.smart.sync import SyncProgress, synchronise
from runicorn_remote.smart.tails import Tails

logger = logging.getLogger("runicorn.remote")

_LOOK_S = 0.5
_MAX_PAUSE_S = 60.0
_SPREAD = 0.2
_STOP_S = 2.0


class SyncStopped(Exception):
    """The mode ended, or the cache is about to be cleared."""


class Stats(msgspec.Struct, frozen=True):
    """What `GET /api/remote/status` says of a cache."""

    connected: bool
    last_sync: float | None
    total_artifacts: int
    cached_artifacts: int
    cache_size_bytes: int
    remote_size_bytes: int
    sync_count: int
    error_count: int
    cached_experiments: int


def stats_of(cache: Cache, *, connected: bool = False, syncs: int = 0, errors: int = 0) -> Stats:
    """From memory."""
    totals = cache.totals
    return Stats(
        connected=connected,
        last_sync=cache.last_sync,
        total_artifacts=totals.versions,
        cached_artifacts=totals.versions,
        cache_size_bytes=totals.size_bytes,
        remote_size_bytes=totals.remote_bytes,
        sync_count=syncs,
        error_count=errors,
        cached_experiments=totals.runs,
    )


class Adapter:
    """See the module's docstring.

    In its thread `after_sync` is called when the cache may have changed, and `tell` when a sync has ended in any way but by
    being stopped.
    """

    def __init__(
        self,
        connection: Connection,
        source: RemoteSource,
        *,
        auto_sync: bool,
        interval_minutes: int,
        after_sync: Callable[[Adapter], None],
        tell: Callable[[SyncProgress], None],
    ) -> None:
        """Opens the cache. CacheBusy, or OSError where it cannot be made."""
        self.connection = connection
        self.source = source
        self.auto_sync = auto_sync
        self.interval_minutes = interval_minutes
        self.cache = Cache.for_writing(source)
        self.tails = Tails(connection, source.root, self.cache)
        self.progress: SyncProgress | None = None
        self._after_sync = after_sync
        self._tell = tell
        self._syncs = self._errors = 0
        self._due: float | None = None
        """When the next sync is due, by the monotonic clock: that of the machine may be set."""
        self._given_up: Connected | None = None
        """The lost login that is not made again, because that was refused: somebody has to log in anew."""
        self._wanted = threading.Event()
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._attempt = Attempt()
        self._pausing = threading.Event()
        self._mutex = threading.Lock()
        self._busy = threading.Lock()
        self._thread = threading.Thread(target=self._work, name=f"smart {source.key}", daemon=True)

    def start(self, *, sync_now: bool) -> None:
        """Begin."""
        if sync_now:
            self.request_sync()
        self._thread.start()

    def configure(self, *, auto_sync: bool, interval_minutes: int) -> None:
        """Other settings from now on."""
        self.auto_sync, self.interval_minutes = auto_sync, interval_minutes
        self._due = time.monotonic() + 60.0 * interval_minutes if auto_sync else None
        self._woken.set()

    def request_sync(self) -> bool:
        """Have a sync begin now; False if one is going on."""
        with self._mutex:
            if self._is_syncing:
                return False
            self.progress = SyncProgress("running", time.time())
            self._wanted.set()
            self._woken.set()
            return True

    def stop(self) -> None:
        """End it; nothing is written when this returns. The connection is not touched."""
        self._stopping.set()
        self._attempt.end()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_S)
        self.cache.close()

    def clear_cache(self) -> None:
        """Forget everything that is cached; a sync that is going on is ended first."""
        self._pausing.set()
        try:
            with self._busy:
                self.cache.clear()
        finally:
            self._pausing.clear()
        self._after_sync(self)

    @property
    def next_sync_at(self) -> float | None:
        """When the next sync begins by itself, in Unix seconds; None without auto sync."""
        due = self._due if self.auto_sync else None
        return None if due is None else time.time() + due - time.monotonic()

    @property
    def status(self) -> Literal["connected", "syncing", "error"]:
        """What it is doing."""
        if not self.connection.is_alive:
            return "error"
        return "syncing" if self._is_syncing else "connected"

    def stats(self) -> Stats:
        """What the cache holds, from memory."""
        return stats_of(self.cache, connected=self.connection.is_alive, syncs=self._syncs, errors=self._errors)

    @property
    def _is_syncing(self) -> bool:
        return self.progress is not None and self.progress.status == "running"

    def _work(self) -> None:
        pause_s = 1.0
        retry_at = 0.0
        while not self._stopping.is_set():
            now = time.monotonic()
            is_due = self.auto_sync and self._due is not None and now >= self._due
            is_lost = not self.connection.is_alive
            try:
                if is_lost and self._is_syncing:
                    self._fail(ConnectionLost())
                    self._wanted.clear()
                if is_lost and now >= retry_at and self._may_come_back:
                    self._reconnect()
                    pause_s = 1.0
                elif not is_lost and (is_due or self._wanted.is_set()):
                    self._sync()
                    pause_s = 1.0
            except (RunicornError, OSError) as error:
                self._due = time.monotonic() + pause_s
                retry_at = time.monotonic() + pause_s * random.uniform(1 - _SPREAD, 1 + _SPREAD)
                pause_s = min(2 * pause_s, _MAX_PAUSE_S)
                logger.warning("the sync of %s failed: %s", self.source.target.host, one_line(error))
            except SyncStopped:
                pass
            except Exception as error:  # a bug of ours: shown, not silently gone
                logger.exception("the sync of %s failed", self.source.target.host)
                self._fail(error)
                self._due = time.monotonic() + _MAX_PAUSE_S
            self._woken.wait(_LOOK_S)
            self._woken.clear()

    @property
    def _may_come_back(self) -> bool:
        """Whether a lost connection is made again: not one that was refused, or was closed for good."""
        return not self.connection.is_closed and self.connection.established is not self._given_up

    def _reconnect(self) -> None:
        """Make the connection again; what cannot get better by itself is tried once."""
        lost = self.connection.established
        try:
            self.connection.reconnect(self._attempt)
        except ConnectFailed as failure:
            if failure.is_final:
                self._given_up = lost
            raise

    def _sync(self) -> None:
        with self._busy:
            self._wanted.clear()
            with self._mutex:
                if self.progress is None or self.progress.status != "running":
                    self.progress = SyncProgress("running", time.time())
                progress = self.progress
            try:
                synchronise(self.connection, self.source.root, self.cache, progress, self._check)
                self.cache.note_sync()
                self.cache.measure()
            except BaseException as error:
                self._fail(error)
                raise
            self._syncs += 1
            self._errors += len(progress.errors)
            self._due = time.monotonic() + 60.0 * self.interval_minutes if self.auto_sync else None
            progress.end("completed")
            self._tell(progress)
        self._after_sync(self)

    def _fail(self, error: BaseException) -> None:
        if self.progress is not None and self.progress.status == "running":
            if isinstance(error, SyncStopped):
                self.progress.add_error("Stopped")
            else:
                self._errors += 1
                text = one_line(error) if isinstance(error, Exception) else ""
                self.progress.add_error(text.replace(f"{self.source.root}/", ""))
            self.progress.end("failed")
            if not isinstance(error, SyncStopped):
                self._tell(self.progress)

    def _check(self) -> None:
        if self._stopping.is_set() or self._pausing.is_set():
            raise SyncStopped
