"""The loop that keeps read models level with the log. One per state directory, in a process of its own.

Its work, most urgent first: requests of workers (one stream, at once), streams that changed (grouped into small
transactions, paced), new run directories, and the sweep over everything else, which gets a tenth of the time.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain, islice

from runicorn.config import INTERNAL
from runicorn.events.discovery import EVENTS_FILE, is_run_key, run_at
from runicorn.events.log import FileLog, Stream
from runicorn.projection.catch_up import ModelFailed, catch_up
from runicorn.projection.directories import RunDirectories
from runicorn.projection.model import ReadModel
from runicorn.projection.observing import Observer
from runicorn.projection.wire import Committed, Status

logger = logging.getLogger("runicorn.projection")

# Small transactions keep requests waiting for at most a few milliseconds; a commit costs about 0.1 ms.
_LIVE_BYTES = 256 << 10
_BUILD_BYTES = 4 << 20
_PACE_S = 0.010
_SWEEP_SLICE_S = 0.005
_SWEEP_SHARE = 0.1
_SWEEP_PAUSE_S = 1.0
_OBSERVE_AT_ONCE = 200
_MAX_WATCHED = 4000
_WAL_CHECK_S = 5.0
_MAX_WAL_BYTES = 64 << 20


class Projector:
    """Drives the projections of all plugins over all streams of a root."""

    def __init__(self, log: FileLog, models: Sequence[ReadModel], observer: Observer) -> None:
        self.log = log
        self.models = list(models)
        self.observer = observer
        self.failed: dict[str, str] = {}
        """Plugins whose read model stopped, with the reason."""
        self._directories = RunDirectories(log.root)
        self._dirty: dict[Stream, float] = {}
        self._to_observe: dict[str, None] = {}
        self._notices: deque[Committed] = deque()
        self._commit = 0
        self._last_commit = 0.0
        self._active: list[str] = []
        self._watched: frozenset[str] = frozenset()
        self._watched_is_stale = True
        self._sweep: Iterator[None] | None = None
        self._next_sweep = 0.0
        self._next_wal_check = 0.0
        self._root_seen = False

    # ── what the outside tells ──────────────────────────────────────────────

    def start(self) -> None:
        """Take note of everything that exists; the first build begins with the next `work`."""
        for model in self.models:
            for name in model.streams():
                self._mark(Stream.named(name))
        self.discover()
        for stream in self.log.streams():
            self._mark(stream)

    def discover(self) -> None:
        """Find run directories that appeared or vanished, and new streams of the store."""
        try:
            appeared, vanished = self._directories.refresh()
        except OSError as error:
            logger.warning("the storage root cannot be read: %s", error.strerror)
            return
        for run in (*appeared, *vanished):
            self._mark(Stream("run", run.key))
            self._to_observe[run.key] = None
        for stream in self.log.store_streams():
            self._mark(stream)
        self._watched_is_stale = True

    def changed(self, paths: Iterable[str] | None) -> None:
        """Files changed; None: anything may have changed among what is watched."""
        if paths is None:
            for name in self._active:
                self._mark(Stream.named(name))
            self.discover()
            return
        root = os.fspath(self.log.root) + os.sep
        look_for_runs = False
        for path in paths:
            directory, _, name = path.removeprefix(root).rpartition(os.sep)
            key = directory.replace(os.sep, "/")
            if is_run_key(key):
                if name == EVENTS_FILE:
                    self._mark(Stream("run", key))
                elif name in self.observer.files:
                    self._to_observe[key] = None
            elif not name.endswith((".lock", ".tmp")) and not key.startswith(f"{INTERNAL}/state"):
                look_for_runs = True
        if look_for_runs:
            self.discover()

    def apply_now(self, stream: Stream) -> None:
        """Bring one stream level with what it holds now, alone and first. Returns after the commit."""
        target = self.log.position(stream)
        for _ in range(1000):
            result = self._apply([stream], _LIVE_BYTES)
            if stream not in self._dirty or target is None or result >= target.size:
                return

    def settle(self) -> None:
        """Apply and observe what is known to have changed, without pacing; for a worker that waits for a new run."""
        for _ in range(100):
            if self.is_building or not (self._dirty or self._to_observe):
                return
            if self._dirty:
                self._apply(self._some_dirty(), _LIVE_BYTES)
            else:
                self._observe_some()

    # ── what the loop does ──────────────────────────────────────────────────

    @property
    def is_building(self) -> bool:
        """Whether some read model has not seen everything once."""
        return any(not model.ready for model in self.models)

    def work(self) -> float:
        """Do the most urgent piece of work; the seconds until the next is due (0: more is waiting)."""
        now = time.monotonic()
        if self._dirty:
            pause = 0.0 if self.is_building else self._last_commit + _PACE_S - now
            if pause > 0:
                return pause
            self._apply(self._some_dirty(), _BUILD_BYTES if self.is_building else _LIVE_BYTES)
            return 0.0 if self._dirty else _PACE_S
        if self._to_observe:
            self._observe_some()
            return 0.0
        if self.is_building:
            for model in self.models:
                model.mark_ready()
            logger.info("read models are level with the log")
            self._publish([], moved=True)
        if now >= self._next_wal_check:
            self._next_wal_check = now + _WAL_CHECK_S
            self._check_wal()
        return self._sweep_some(now)

    def directories_to_watch(self) -> frozenset[str]:
        """Absolute paths: running runs, the parents of runs to come, and the store stream."""
        if self._watched_is_stale:
            self._watched_is_stale = False
            self._active = [name for model in self.models for name in model.active_streams()][:_MAX_WATCHED]
            root = os.fspath(self.log.root)
            runs = (f"{root}/{name}" for name in self._active)
            self._watched = frozenset((*self._directories.parents()[:_MAX_WATCHED], *runs, f"{root}/{INTERNAL}/log"))
        return self._watched

    def take_notices(self) -> list[Committed]:
        """What was committed since the last call."""
        notices = list(self._notices)
        self._notices.clear()
        return notices

    def status(self, watching: str) -> Status:
        """How far behind the log the read models are."""
        oldest = min(self._dirty.values(), default=None)
        return Status(
            pid=os.getpid(),
            state="building" if self.is_building else "live",
            streams=max((len(model.streams()) for model in self.models), default=0),
            behind_streams=len(self._dirty),
            lag_s=0.0 if oldest is None else time.monotonic() - oldest,
            watching="polling" if watching == "polling" else "inotify",
            failed=dict(self.failed),
        )

    def close(self) -> None:
        """Close the read models."""
        for model in self.models:
            model.close()

    # ── applying ────────────────────────────────────────────────────────────

    def _mark(self, stream: Stream) -> None:
        position = self.log.position(stream)
        for model in self.models:
            known = model.checkpoint(stream)
            if (known is not None) if position is None else (known is None or not known.is_at(position)):
                self._dirty.setdefault(stream, time.monotonic())
                return

    def _some_dirty(self) -> list[Stream]:
        return list(islice(self._dirty, 2000))

    def _apply(self, streams: Sequence[Stream], limit: int) -> int:
        """Apply about `limit` bytes of these streams in one transaction; the offset reached in the last of them."""
        applied: list[tuple[Stream, int, int]] = []
        done: list[Stream] = []
        left, end = limit, 0
        try:
            with ExitStack() as transactions:
                for model in self.models:
                    transactions.enter_context(model.transaction())
                for stream in streams:
                    result = catch_up(self.log, self.models, stream, limit=left)
                    left -= max(result.end - result.start, 512)
                    end = result.end
                    applied.append((stream, result.start, result.end))
                    if not result.more:
                        done.append(stream)
                    if left <= 0:
                        break
        except ModelFailed as failure:
            self._stop_model(failure)
            return 0
        for stream in done:
            self._dirty.pop(stream, None)
        self._last_commit = time.monotonic()
        if len(done) < len(applied):
            for stream in {stream for stream, _, _ in applied}.difference(done):
                self._dirty.setdefault(stream, self._last_commit)
        self._publish([(stream.name, start, end) for stream, start, end in applied if end > start])
        return end

    def _stop_model(self, failure: ModelFailed) -> None:
        model = failure.model
        self.failed[model.plugin] = str(failure)
        logger.error("plugin %s: its read model stopped: %s", model.plugin, failure, exc_info=failure.__cause__)
        self.models.remove(model)
        model.close()

    def _publish(self, streams: list[tuple[str, int, int]], *, moved: bool = False) -> None:
        counters = {model.plugin: values for model in self.models if (values := model.take_counters())}
        if counters:
            self._watched_is_stale = True
        if streams or counters or moved:
            self._commit += 1
            self._notices.append(Committed(self._commit, streams, counters, moved))

    # ── observing and sweeping ──────────────────────────────────────────────

    def _observe_some(self) -> None:
        keys = list(self._to_observe)[:_OBSERVE_AT_ONCE]
        for key in keys:
            del self._to_observe[key]
        if not self._root_is_there():
            return
        runs = [run_at(key) for key in keys if self.observer.has_changed(key)]
        if runs:
            self.observer.observe(runs, self.apply_now)

    def _root_is_there(self) -> bool:
        """A root that was unmounted looks empty; that must not be recorded as the end of all its runs."""
        there = os.path.isdir(self.log.root / INTERNAL)
        if not there and self._root_seen:
            logger.warning("the storage root is gone or empty: nothing is observed")
            return False
        self._root_seen = self._root_seen or there
        return os.path.isdir(self.log.root)

    def _sweep_some(self, now: float) -> float:
        if now < self._next_sweep:
            return self._next_sweep - now
        if self._sweep is None:
            self._sweep = self._sweep_everything()
        deadline = now + _SWEEP_SLICE_S
        for _ in self._sweep:
            if self._dirty or self._to_observe or time.monotonic() >= deadline:
                break
        else:
            self._sweep = None
        spent = time.monotonic() - now
        self._next_sweep = now + (_SWEEP_PAUSE_S if self._sweep is None else spent / _SWEEP_SHARE)
        return 0.0 if self._dirty or self._to_observe else self._next_sweep - now

    def _sweep_everything(self) -> Iterator[None]:
        """Look once at every stream and every run directory, known or new; yields often."""
        self.discover()
        yield
        streams = {name for model in self.models for name in model.streams()}
        for name in streams:
            self._mark(Stream.named(name))
            yield
        observed = frozenset(self.observer.known())
        for key in chain(observed, (key for key in self._directories.run_keys() if key not in observed)):
            if key not in streams:
                self._mark(Stream("run", key))
            if self.observer.has_changed(key):
                self._to_observe[key] = None
            yield

    def _check_wal(self) -> None:
        for model in self.models:
            wal = model.path.with_name(model.path.name + "-wal")
            if wal.exists() and wal.stat().st_size > _MAX_WAL_BYTES:
                model.truncate_wal()
