"""The loop that keeps read models level with the log. One per state directory, in a process of its own.

Its work, most urgent first: requests of workers (one stream, at once), streams that changed (grouped into small
transactions, paced), new run directories, and the sweep over everything else. Whatever is less urgent gets its turn in the
pauses and after each transaction, so steady ingest never starves it.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from runicorn.config import INTERNAL
from runicorn.events.discovery import EVENTS_FILE, MIRRORS, is_artifact_key, is_run_key, run_at
from runicorn.events.log import FileLog, Stream
from runicorn.projection.backlog import Backlog
from runicorn.projection.directories import RootPresence, RunDirectories
from runicorn.projection.lag import MEASURED_STREAMS, measure
from runicorn.projection.model import ReadModel
from runicorn.projection.newcomers import Newcomers
from runicorn.projection.observing import Observer
from runicorn.projection.read_models import ReadModels
from runicorn.projection.sweeping import Sweep
from runicorn.projection.watched import Watched
from runicorn.projection.wire import Committed, Status
from runicorn.run_files import META_FILE

logger = logging.getLogger("runicorn.projection")

# Small transactions keep requests waiting for at most a few milliseconds; a commit costs about 0.1 ms.
_LIVE_BYTES = 256 << 10
_BUILD_BYTES = 4 << 20
_PACE_S = 0.010
_SETTLE_S = 0.2
_OBSERVE_LIVE = 50
_OBSERVE_BUILDING = 200
_DISCOVER_SHARE = 0.1
_WAL_CHECK_S = 5.0


class Projector:
    """Drives the projections of all plugins over all streams of a root."""

    def __init__(self, log: FileLog, models: Sequence[ReadModel], observer: Observer) -> None:
        self.log = log
        self._root = RootPresence(log.root, chain.from_iterable(_names(model) for model in models))
        self.models = ReadModels(log, models, self._root.is_there)
        self.observer = observer
        self._directories = RunDirectories(log.root)
        self._artifacts = observer.artifacts
        self._to_observe: Backlog[str] = Backlog()
        self._root_may_have_changed = True
        self._sweep = Sweep(self.look_at_everything)
        self._is_first_sweep = True
        self._is_started = False
        self._newcomers = Newcomers(log.root, {*observer.files, EVENTS_FILE})
        self._watched = Watched(
            log.root, self.models.active_streams, self._newcomers, self._directories, self._artifacts
        )
        self._next_discover = 0.0
        self._next_wal_check = 0.0

    # ── what the outside tells ──────────────────────────────────────────────

    def start(self) -> None:
        """Take note of everything that exists; the first build begins with the next `work`."""
        if self._root.is_there():
            for _ in self.models.mark_known():
                pass
            self.discover()
            for stream in self.log.artifact_streams():
                self.models.mark(stream)
        self._is_started = True
        self.models.begin()
        self._to_observe.begin(self._directories.run_keys(), self._directories.run_count)
        self._artifacts.waiting.begin()
        self.models.remove_superseded()

    def discover(self) -> None:
        """Find run directories that appeared or vanished, and new streams of the store."""
        started = time.monotonic()
        if not self._root.is_there():
            return
        for stream in self.log.store_streams():
            self.models.mark(stream)
        try:
            for appeared, vanished in self._directories.refresh():
                self._found(appeared, vanished)
        except OSError as error:
            logger.warning("the storage root cannot be read: %s", error.strerror)
            return
        for key in self._artifacts.discover():
            self.models.mark(Stream("artifact", key))
        now = time.monotonic()
        self._watched.may_have_changed(at_once=True)
        self._next_discover = now + (now - started) / _DISCOVER_SHARE

    def _found(self, appeared: Sequence[str], vanished: Sequence[str]) -> None:
        """Take note of runs that have appeared, or are gone."""
        if self._is_started:
            self._newcomers.add(appeared)
        for key in (*appeared, *vanished):
            self.models.mark(Stream("run", key))
            if self._is_started:  # else all are looked at
                self._look_at(key)

    def changed(self, paths: Iterable[str] | None) -> None:
        """Files changed; None: anything may have changed among what is watched."""
        if paths is None:
            for name in self._watched.followed():
                self.models.mark(Stream.named(name))
            for key in self._newcomers.young():
                self._look_at(key)
            if time.monotonic() >= self._next_discover:  # polling asks twenty times a second
                self.discover()
            self._artifacts.look_at_watched()
            return
        root = os.fspath(self.log.root) + os.sep
        look_for_runs = False
        for path in paths:
            directory, _, name = path.removeprefix(root).rpartition(os.sep)
            key = directory.replace(os.sep, "/")
            if name.endswith((".lock", ".tmp")):
                continue
            artifact = self._artifacts.noticed(f"{key}/{name}")
            if artifact is not None:
                self._watched.may_have_changed()
                self.models.mark(Stream("artifact", artifact))
            # Below `artifacts` a directory is a run only if it says so: an artifact may be called `runs`.
            if is_run_key(key) and (artifact is None or os.path.exists(f"{root}{key}/{META_FILE}")):
                if name == EVENTS_FILE:
                    self.models.mark(Stream("run", key))
                    if self._newcomers.has_begun(key):
                        self._to_observe.add(key)
                elif name in self.observer.files:
                    self._to_observe.add(key)
            elif key == f"{INTERNAL}/log" and name.endswith(".jsonl"):
                self.models.mark(Stream.named(f"{key}/{name.removesuffix('.jsonl')}"))
            elif not key and name in self.observer.root_files:
                self._root_may_have_changed = True
            elif artifact in (None, f"{key}/{name}") and not key.startswith(INTERNAL) and not _is_of_mirror(key, name):
                look_for_runs = True
        if look_for_runs:
            self.discover()

    def _look_at(self, key: str) -> None:
        """Have a run directory observed: now, or a little later where it has just been made and is still empty."""
        if not self._newcomers.puts_off(key):
            self._to_observe.add(key)

    def apply_now(self, stream: Stream) -> None:
        """Bring one stream level with what it holds now, alone and first. Returns after the commit."""
        target = self.log.position(stream)
        while not self.apply_slice(stream, 0 if target is None else target.size):
            pass

    def apply_slice(self, stream: Stream, size: int) -> bool:
        """One small transaction for one stream; whether it is level now, or has reached `size`."""
        is_level, forgotten = self.models.apply_first(stream, size, _LIVE_BYTES)
        self._observe_again(forgotten)
        return is_level

    def settle(self) -> None:
        """Apply and observe what is known to have changed, without pacing; for a worker that waits for a new run."""
        deadline = time.monotonic() + _SETTLE_S
        while (
            (self.models.dirty or self._to_observe or self._artifacts.waiting)
            and not self.models.is_building
            and time.monotonic() < deadline
        ):
            self._apply_some(_LIVE_BYTES)
            self._observe_some(_OBSERVE_LIVE)

    def look_at(self, key: str) -> bool:
        """Look at the files of one run or artifact, alone and first; False if somebody is changing them in this moment."""
        if self.models.is_building or not self._root.is_there():
            return True
        if is_artifact_key(key):
            return self._artifacts.look(key, self.apply_now)
        if self.observer.has_changed(key):
            self._observe([key])
        return True

    def succeed(self, successors: Sequence[ReadModel]) -> None:
        """Move to newer files of the same projections; over when `models.is_handing_over` is False again."""
        self.models.succeed(successors)

    # ── what the loop does ──────────────────────────────────────────────────

    def work(self) -> float:
        """Do the most urgent pieces of work; the seconds until the next is due (0: more is waiting)."""
        dirty = self.models.dirty
        if self.models.is_building:
            self._build_some()
            return 0.0
        if dirty and time.monotonic() >= self.models.last_commit + _PACE_S:
            self._apply_some(_LIVE_BYTES)
        if self.models.is_handing_over and dirty.is_past_first_round:
            self.models.hand_over(self.observer.replace_model)
        for key in self._newcomers.take_due():
            self._to_observe.add(key)
        self._observe_some(_OBSERVE_LIVE)
        self._observe_root()
        pause = self._sweep.work(lambda: bool(dirty or self._to_observe or self._artifacts.waiting))
        now = time.monotonic()
        if now >= self._next_wal_check:
            self._next_wal_check = now + _WAL_CHECK_S
            self.models.truncate_large_wals()
        if dirty:
            return max(0.0, self.models.last_commit + _PACE_S - now)
        pause = min(pause, self._newcomers.pause_s())
        if self._artifacts.waiting:
            pause = min(pause, self._artifacts.pause_s)
        return 0.0 if self._to_observe else pause

    def _build_some(self) -> None:
        self._apply_some(_BUILD_BYTES)
        if self.models.dirty.is_past_first_round:
            self._observe_some(_OBSERVE_BUILDING)
            if self._to_observe.is_past_first_round and self._artifacts.waiting.is_past_first_round:
                self.models.become_ready()

    def directories_to_watch(self) -> frozenset[str]:
        """Absolute paths: running and new runs, the parents of runs to come, and the store stream."""
        return self._watched.directories()

    @property
    def replaced_directories(self) -> int:
        """How many directories to watch were removed and made again so far: watches on those are dead."""
        return self._directories.replaced

    @property
    def is_observing(self) -> bool:
        """Whether directories of runs or artifacts, or the root, are waiting to be looked at."""
        return bool(self._to_observe or self._artifacts.waiting) or self._root_may_have_changed

    @property
    def left(self) -> int:
        """How many streams and run directories are known to be waiting."""
        return len(self.models.dirty) + len(self._to_observe)

    @property
    def is_behind(self) -> bool:
        """Whether something is known to be left to do, besides the sweep."""
        return bool(self.left) or self.models.is_building or self.models.is_handing_over

    def take_notices(self) -> list[Committed]:
        """What was committed since the last call."""
        notices = self.models.take_notices()
        if any(notice.counters for notice in notices):
            self._watched.may_have_changed()
        return notices

    def status(self, watching: str) -> Status:
        """How far behind the log the read models are."""
        dirty = self.models.dirty
        lag = measure(self.log, dirty.first(MEASURED_STREAMS), len(dirty), self.models.committed_end)
        return Status(
            pid=os.getpid(),
            state="building" if self.models.is_building else "live",
            streams=self.models.stream_count,
            behind_streams=len(dirty),
            behind_bytes=lag.bytes,
            behind_events=lag.events,
            lag_s=dirty.lag_s,
            progress=self.models.progress if self.models.is_building else 1.0,
            unobserved_runs=len(self._to_observe),
            watching="polling" if watching == "polling" else "inotify",
            failed={**self.observer.failed, **self.models.failed},
        )

    def close(self) -> None:
        """Close the read models."""
        self.models.close()

    def _apply_some(self, limit: int) -> None:
        if self.models.dirty:
            self._observe_again(self.models.apply_some(limit))

    # ── observing and sweeping ──────────────────────────────────────────────

    def _observe_again(self, forgotten: Sequence[Stream]) -> None:
        """What forgotten streams said, the files of the same runs may say, too."""
        for stream in forgotten:
            keys = [stream.name] if stream.kind == "run" else []
            if stream.kind == "artifact":
                self._artifacts.forget([stream.name])
            if stream.kind == "store":
                self._artifacts.forget()
                keys = list(self._directories.run_keys())
                self._is_first_sweep = True
            self.observer.forget(keys)
            self._root_may_have_changed = True
            for key in keys:
                self._to_observe.add(key)

    def _observe_some(self, count: int) -> None:
        keys = self._to_observe.first(count)
        if not keys and not self._artifacts.waiting:
            return
        if not self._root.is_there():
            self._to_observe.done(keys)
            self._artifacts.waiting.done(self._artifacts.waiting.first(count))
            return
        if self._observe(keys):
            self._artifacts.work(count, self.apply_now)

    def _observe(self, keys: Sequence[str]) -> bool:
        """Look at these run directories; False if the store stream is too long to be applied first."""
        for stream in self.log.store_streams():  # a source compares with what the streams say
            self.models.mark(stream)
            if stream in self.models.dirty and not self.apply_slice(stream, 0):
                return False
        changed: list[str] = []
        for key in keys:
            stream = Stream("run", key)
            self.models.mark(stream)
            if stream in self.models.dirty and not self.apply_slice(stream, 0):
                self._to_observe.again(key)
                continue
            self._to_observe.done([key])
            if self.observer.has_changed(key):
                changed.append(key)
        if changed:
            self.observer.observe([run_at(key) for key in changed], self.apply_now)
        return True

    def _observe_root(self) -> None:
        """Ask about the files in the root. What they say about a run that is not known yet is asked with the run."""
        if not self._root_may_have_changed or not self._root.is_there():
            return
        if self.observer.has_root_changed():
            for stream in self.log.store_streams():  # a source compares with what the streams say
                self.models.mark(stream)
                if stream in self.models.dirty and not self.apply_slice(stream, 0):
                    return
            self.observer.observe_root(self.apply_now)
        self._root_may_have_changed = False

    def look_at_everything(self) -> Iterator[None]:
        """Look once at every stream and every run directory, known or new; yields often."""
        self.discover()
        yield
        if not self._root.is_there():
            return
        self._root_may_have_changed = True
        for stream in self.log.artifact_streams():
            self.models.mark(stream)
            yield
        yield from self._artifacts.look_at_all()
        yield from self.models.mark_known()
        if self._is_first_sweep:
            self._is_first_sweep = False
            for key in self.observer.never_observed():
                self._to_observe.add(key)
            yield
        for key in self._directories.run_keys():
            stream = Stream("run", key)
            if not self.models.knows(stream):
                self.models.mark(stream)
            if self.observer.has_changed(key):
                self._to_observe.add(key)
            yield
        for key, is_known in self._directories.look_up(self.observer.known()):
            if not is_known and self.observer.has_changed(key):
                self.models.mark(Stream("run", key))
                self._to_observe.add(key)
            yield


def _is_of_mirror(directory: str, name: str) -> bool:
    """Whether a file is what a mirror notes for itself, once a second."""
    return directory.startswith(f"{MIRRORS}/") and name.startswith("state.db")


def _names(model: ReadModel) -> Iterator[str]:
    return (name for name, _ in model.checkpoints())
