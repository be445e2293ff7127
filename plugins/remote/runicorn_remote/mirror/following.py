"""Following a remote root over one connection, until something fails or nobody wants it any more.

Three threads: the *scanner* enumerates the whole root now and then, the *quick* thread looks at running runs every interval
and brings what is small, the *bulk* thread brings large files. Whatever ends one of them ends all. A thread that still waits
for the server or a disk then belongs to this attempt alone: it ends when it looks around, whatever was begun since.
"""

from __future__ import annotations

import errno
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable

from runicorn.plugin import RunicornError
from runicorn_remote.enumeration import Enumeration, RemoteFile, enumerate_directories, enumerate_root
from runicorn_remote.errors import ConnectionLost
from runicorn_remote.mirror.lane import Lane, Stopped, is_small
from runicorn_remote.mirror.origins import tell_origins
from runicorn_remote.mirror.parts import Parts
from runicorn_remote.mirror.units import is_append_only, unit_of
from runicorn_remote.mirror.waiting import Waiting
from runicorn_remote.opening import opened

logger = logging.getLogger("runicorn.remote")

_MAX_SCAN_PAUSE_S = 60.0
_SCAN_SHARE = 5  # a scan may take a sixth of the time
_SAVE_S = 1.0
_LOOK_S = 0.05
_END_S = 5.0
_READ_S = 0.5
"""How long a stop waits for threads that wait for the server themselves: they look around before they write."""


class Following:
    """One attempt; `run` works it off. For the other members: any thread."""

    def __init__(
        self,
        parts: Parts,
        stopping: threading.Event,
        name: str,
        *,
        interval_s: Callable[[], float],
        begun: Callable[[], None],
        good: Callable[[], None],
        is_hindered: bool,
    ) -> None:
        """`begun` is called when the channels are open, `good` whenever all that a scan has found is here, but for large
        files on their way.

        `is_hindered`: the attempt before has failed here, as for a file that is larger than the disk, and not on the way.
        """
        self._parts = parts
        self._stopping = stopping
        self._name = name
        self._interval_s = interval_s
        self._begun = begun
        self._good = good
        self._is_hindered = is_hindered
        self._broken = threading.Event()
        self._failure: Exception | None = None
        self._lanes: list[Lane] = []
        self._quick: queue.SimpleQueue[list[RemoteFile]] = queue.SimpleQueue()
        self._bulk: queue.SimpleQueue[RemoteFile] = queue.SimpleQueue()
        self._mutex = threading.Lock()
        self._waiting_small = 0
        """Lists of small files that are not brought yet."""
        self._live_at = time.monotonic()
        self._scans = 0
        self._unmarked: set[str] = set()
        """Recycle-bin markers that were missing in the last scan for the first time."""
        self.waiting = Waiting()
        self.is_good = False
        """Whether `good` was called."""

    def run(self) -> Exception:
        """Follow; why it has ended. The connection must have been made."""
        try:
            lanes = opened(self._open_lanes, _close, self._stopping.is_set, f"{self._name} opening")
        except (RunicornError, OSError) as error:
            return error
        if lanes is None:
            return ConnectionLost()
        self._lanes, (quick, bulk) = lanes, lanes
        self._begun()
        works: tuple[tuple[str, Callable[[], None]], ...] = (
            ("scanner", self._scan),
            ("quick", lambda: self._bring_quick(quick)),
            ("bulk", lambda: self._bring_bulk(bulk)),
        )
        threads = [
            threading.Thread(target=self._guard, args=(work,), name=f"{self._name} {name}", daemon=True)
            for name, work in works
        ]
        for thread in threads:
            thread.start()
        while not self._stopping.is_set() and not self._broken.wait(_SAVE_S):
            self._parts.known.save()
            if not self._parts.connection.is_alive:
                self._break(ConnectionLost())
        self.interrupt()
        self._join(threads)
        self._parts.known.save()
        return self._failure or ConnectionLost()

    def interrupt(self) -> None:
        """Have it end soon; threads that wait for the server on its channels wake up."""
        self._broken.set()
        lanes, self._lanes = self._lanes, []
        _close(lanes)

    def _open_lanes(self) -> list[Lane]:
        lanes: list[Lane] = []
        try:
            for _ in range(2):
                lanes.append(self._parts.open_lane(self._check))
        except BaseException:
            _close(lanes)
            raise
        return lanes

    def _join(self, threads: list[threading.Thread]) -> None:
        """Wait for the three threads, which have been told to end."""
        until = time.monotonic() + _END_S
        while any(thread.is_alive() for thread in threads) and (now := time.monotonic()) < until:
            if self._stopping.is_set():
                until = min(until, now + _READ_S)
            for thread in threads:
                thread.join(_LOOK_S)

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Stopped:
            pass
        except Exception as error:  # told to whoever runs this, who decides what it means
            if not isinstance(error, RunicornError | OSError) and not self._broken.is_set():
                logger.exception("the mirror of %s failed", self._parts.source.target.host)
            self._break(error)

    def _break(self, error: Exception) -> None:
        if self._failure is None:
            self._failure = error
        self._broken.set()

    def _check(self) -> None:
        if self._stopping.is_set() or self._broken.is_set():
            raise Stopped

    # ── the three threads ───────────────────────────────────────────────────

    def _scan(self) -> None:
        parts = self._parts
        while True:
            self._check()
            parts.known.check_in_place()
            started = time.monotonic()
            found = enumerate_root(parts.connection, parts.source.root)
            self._check()
            self._take_up(found)
            parts.stats.scans += 1
            self._scans += 1
            parts.last_scan_at = time.time()
            took_s = time.monotonic() - started
            pause_s = min(max(self._interval_s(), _SCAN_SHARE * took_s), _MAX_SCAN_PAUSE_S)
            if self._broken.wait(pause_s):
                raise Stopped

    def _bring_quick(self, lane: Lane) -> None:
        while True:
            while (left_s := self._live_at + self._interval_s() - time.monotonic()) > 0:
                self._check()
                try:
                    files = self._quick.get(timeout=min(left_s, 0.2))
                except queue.Empty:
                    continue
                self._bring(lane, files, meanwhile=lambda: self._look_at_live_if_due(lane))
                with self._mutex:
                    self._waiting_small -= 1
            self._look_at_live(lane)
            if self._scans and self._quick.empty():
                self._parts.level_at = self._parts.level_at or self._live_at
                # The file that did not fit may be among those that are still to come.
                if not self._is_hindered or not self.waiting.files:
                    self.is_good, self._is_hindered = True, False
                    self._check()
                    self._good()

    def _bring_bulk(self, lane: Lane) -> None:
        while True:
            self._check()
            try:
                file = self._bulk.get(timeout=0.2)
            except queue.Empty:
                continue
            try:
                self._bring(lane, [file])
            except OSError as error:
                # A file that is too large for the disk ends this attempt, and each that follows: not before the rest.
                while error.errno == errno.ENOSPC and self._waiting_small:
                    self._check()
                    time.sleep(_LOOK_S)
                raise

    # ── what there is to do ─────────────────────────────────────────────────

    def _take_up(self, found: Enumeration) -> None:
        """Hand out what changed, runs before artifacts and small files first; forget what is gone."""
        parts, choosing = self._parts, self._parts.choosing
        files = [file for file in found.files if choosing.is_ours_to_take(file.path)]
        choosing.note_newest(files)
        changed = [file for file in files if choosing.has_changed(file)]
        waiting = self.waiting.paths()
        for file in changed:
            # What an earlier scan has found, and nobody has come to bring yet, did not change just now.
            if parts.last_scan_at is not None and file.path not in waiting:
                choosing.has_just_changed(file.path)
        changed.sort(key=lambda file: (file.path.startswith("artifacts/"), file.size))
        parts.claims.claim((file.path for file in changed), self._check)
        tell_origins(parts.known, parts.source, parts.record)
        small = self._take([file for file in changed if is_small(file, parts.known)])
        if small:
            with self._mutex:
                self._waiting_small += 1
            self._quick.put(small)
        for file in self._take([file for file in changed if not is_small(file, parts.known)]):
            self._bulk.put(file)
        parts.failures.after_scan(found.unreadable, {file.path for file in changed})
        if found.is_complete:
            present = {file.path for file in files}
            choosing.forget_missing(present)
            self._forget_missing(present)

    def _forget_missing(self, present: set[str]) -> None:
        """What is gone there stays here; only a recycle-bin marker that was mirrored goes, so that a restore arrives.

        A run that was deleted for good there has no marker either, and stays in the recycle bin here.
        """
        parts = self._parts
        units = {unit_of(path) for path in present}
        unmarked, self._unmarked = self._unmarked, set()
        for path in parts.known.paths():
            if path in present:
                continue
            if path.rpartition("/")[2] == ".deleted" and unit_of(path) in units:
                if path not in unmarked:  # a run that is just being deleted may have lost it before its other files
                    self._unmarked.add(path)
                    continue
                parts.claims.remove(path)
            parts.known.set_file(path, None)

    def _look_at_live_if_due(self, lane: Lane) -> None:
        if time.monotonic() - self._live_at >= self._interval_s():
            self._look_at_live(lane)

    def _look_at_live(self, lane: Lane) -> None:
        """Bring what changed in runs that are running, or were changed within the last minute."""
        parts = self._parts
        began = self._live_at = time.monotonic()
        directories = parts.choosing.live_directories()
        files = self._bring_live(lane, directories) if directories else []
        waiting = self.waiting.paths()
        if parts.level_at is not None and not any(is_append_only(path) and path in waiting for path in files):
            parts.level_at = began

    def _bring_live(self, lane: Lane, directories: list[str]) -> list[str]:
        """Bring what changed in these directories; large files are handed out. The paths of all of them."""
        parts, choosing = self._parts, self._parts.choosing
        parts.known.check_in_place()
        found = enumerate_directories(parts.connection, parts.source.root, directories)
        files = [file for file in found.files if choosing.is_ours_to_take(file.path) and choosing.has_changed(file)]
        files.sort(key=lambda file: file.size)
        for file in files:
            choosing.has_just_changed(file.path)
        self._bring(lane, self._take([file for file in files if is_small(file, parts.known)]))
        for file in self._take([file for file in files if not is_small(file, parts.known)]):
            self._bulk.put(file)
        return [file.path for file in files]

    # ── one thread per file ─────────────────────────────────────────────────

    def _take(self, files: list[RemoteFile]) -> list[RemoteFile]:
        """Those that no other thread has in hand; they are now."""
        return self.waiting.take([(file, self._parts.choosing.missing(file)) for file in files])

    def _bring(self, lane: Lane, files: list[RemoteFile], meanwhile: Callable[[], None] = lambda: None) -> None:
        """Bring files that were taken, and let them go."""
        began = time.monotonic()
        lane.bring(files, meanwhile)
        self._parts.choosing.were_brought(files, began)
        self.waiting.let_go(files)  # an error ends the attempt, and these are still to come


def _close(lanes: Iterable[Lane]) -> None:
    for lane in lanes:
        lane.close()
