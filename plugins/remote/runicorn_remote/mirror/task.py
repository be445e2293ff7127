"""A mirror task: follows one remote root until it is stopped.

Three threads share the state of the task: the *scanner* enumerates the whole root now and then, the *quick* thread looks
at running runs every interval and brings what is small, the *bulk* thread brings large files. A connection that is lost
ends all of them; the supervising thread makes it again, with growing pauses, and starts them anew.
"""

from __future__ import annotations

import errno
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from runicorn_remote.attempt import Attempt
from runicorn_remote.connection import Connection
from runicorn_remote.enumeration import Enumeration, RemoteFile, enumerate_directories, enumerate_root
from runicorn_remote.errors import ConnectFailed, ConnectionLost, RemoteError
from runicorn_remote.events import Journal, MirrorChanged, MirrorStarted, MirrorStopped
from runicorn_remote.mirror.choosing import Choosing
from runicorn_remote.mirror.claims import Claims
from runicorn_remote.mirror.lane import Lane, Stopped, is_small
from runicorn_remote.mirror.opening import opened
from runicorn_remote.mirror.origins import Record, tell_origins
from runicorn_remote.mirror.pauses import Pauses
from runicorn_remote.mirror.progress import MirrorReport, MirrorStats, State, one_line
from runicorn_remote.mirror.source import RemoteSource
from runicorn_remote.mirror.state import MirrorState
from runicorn_remote.mirror.units import is_append_only, unit_of
from runicorn_remote.mirror.waiting import Waiting

logger = logging.getLogger("runicorn.remote")

MIN_INTERVAL_S = 0.5
_MAX_SCAN_PAUSE_S = 60.0
_SCAN_SHARE = 5  # a scan may take a sixth of the time
_SAVE_S = 1.0
_LOOK_S = 0.05
_STOP_S = 5.0
_READ_S = 0.5
"""How long a stop waits for threads that wait for the server themselves: they look around before they write."""


class MirrorTask:
    """One remote root, followed into one storage root here. `start` and `stop` are for any thread; they end soon."""

    def __init__(
        self,
        connection: Connection,
        session_id: str,
        source: RemoteSource,
        local_root: Path,
        interval_s: float,
        record: Record,
        *,
        given_up: Callable[[MirrorTask], object] = lambda task: None,
    ) -> None:
        """`record` tells the log of `local_root`; `given_up` is called in a thread of the task when it has ended by itself.

        MirrorBusy if another process does the same; OSError if the root cannot be written.
        """
        started = time.time()
        self.task_id = f"mirror:{session_id}:{int(started * 1000)}"
        self.connection = connection
        self.session_id = session_id
        self.source = source
        self.local_root = local_root
        self.interval_s = max(MIN_INTERVAL_S, interval_s)
        """Seconds between looks at what is running."""
        self._record = record
        self._given_up = given_up
        self._journal = Journal(record)
        self._stats = MirrorStats(started)
        self._state: State = "starting"
        self._last_scan_at: float | None = None
        self._known = MirrorState(local_root, source.key)
        self._claims = Claims(local_root, self._known)
        self._choosing = Choosing(self._known, local_root, self._stats)
        self._stopping = threading.Event()
        self._attempt = Attempt()
        self._broken = threading.Event()
        self._failure: Exception | None = None
        self._lanes: list[Lane] = []
        self._quick: queue.SimpleQueue[list[RemoteFile]] = queue.SimpleQueue()
        self._bulk: queue.SimpleQueue[RemoteFile] = queue.SimpleQueue()
        self._waiting = Waiting()
        self._waiting_small = 0
        """Lists of small files that are not brought yet."""
        self._mutex = threading.Lock()
        self._live_at = time.monotonic()
        self._level_at: float | None = None
        """When the last look at running runs began whose lines are all here."""
        self._scans_before = 0
        """How many scans had ended when the connection was made."""
        self._is_good = False
        """Whether what a scan has found since then is here, but for large files on their way."""
        self._is_hindered = False
        """Whether the last attempt has failed here, as for a file that is larger than the disk, and not on the way."""
        self._unmarked: set[str] = set()
        """Recycle-bin markers that were missing in the last scan for the first time."""
        self._threads: list[threading.Thread] = []
        self._supervisor = threading.Thread(target=self._supervise, name=self.task_id, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._supervisor.start()

    def set_interval(self, interval_s: float) -> None:
        """Look more or less often from now on."""
        self.interval_s = max(MIN_INTERVAL_S, interval_s)

    @property
    def has_ended(self) -> bool:
        """Whether it does nothing more: stopped, or given up."""
        return self._state in ("stopped", "error")

    def report(self) -> MirrorReport:
        """What it is doing, from memory."""
        return MirrorReport(
            id=self.task_id,
            session_id=self.session_id,
            host=self.source.target.host,
            remote_root=self.source.root,
            local_root=str(self.local_root),
            interval=self.interval_s,
            alive=self._state in ("starting", "syncing", "watching"),
            state=self._state,
            last_error=self._stats.last_error,
            last_scan_at=self._last_scan_at,
            conflicts=self._known.conflicts(),
            stats=self._stats,
            lag_s=None if self._level_at is None else time.monotonic() - self._level_at,
            waiting_files=self._waiting.files,
            waiting_bytes=self._waiting.bytes,
        )

    @property
    def is_level(self) -> bool:
        """Whether all that a scan has found since the connection was made is here, or could not be brought."""
        return self._state == "watching" and not self._waiting.files and self._stats.scans >= 2

    def request_stop(self) -> None:
        """Have it end soon, without waiting for that."""
        self._stopping.set()
        self._attempt.end()
        self._interrupt()

    def stop(self) -> None:
        """End it; when this returns, nothing more is written."""
        self.request_stop()
        if self._supervisor.is_alive():
            self._supervisor.join(_STOP_S)

    # ── supervising ─────────────────────────────────────────────────────────

    def _supervise(self) -> None:
        pauses = Pauses()
        source, root = self.source.target.connection_id, self.source.root
        self._journal.tell(MirrorStarted(source=source, remote_root=root, interval=self.interval_s))
        try:
            self._claims.remove_parts()
            while not self._stopping.is_set():
                failure = self._run_once()
                if self._stopping.is_set():
                    break
                if self._is_good:
                    pauses.reset()
                self._is_hindered = not isinstance(failure, RemoteError)
                self._stats.last_error = one_line(failure)
                if isinstance(failure, ConnectFailed) and failure.is_final:
                    self._turn("error")
                    return
                self._turn("reconnecting")
                logger.warning("the mirror of %s pauses: %s", self.source.target.host, one_line(failure))
                if self._stopping.wait(pauses.next_s()):
                    break
        except Exception as error:  # a bug of ours: shown, not silently gone
            logger.exception("the mirror of %s failed", self.source.target.host)
            self._stats.last_error = one_line(error)
            self._turn("error")
        finally:
            self._known.close()
            if self._stopping.is_set():
                self._state = "stopped"
                files, count = self._stats.copied_files, self._stats.copied_bytes + self._stats.appended_bytes
                self._journal.tell(MirrorStopped(source=source, remote_root=root, files=files, bytes=count))
            else:
                self._given_up(self)

    def _run_once(self) -> Exception:
        """Work until something fails; what that was."""
        self._broken.clear()
        self._failure = None
        self._is_good, self._scans_before = False, self._stats.scans
        self._waiting.clear()
        with self._mutex:
            self._waiting_small = 0
        self._quick, self._bulk = queue.SimpleQueue(), queue.SimpleQueue()
        try:
            if not self.connection.is_alive:
                self.connection.reconnect(self._attempt)
            lanes = opened(self._open_lanes, _close, self._stopping, f"{self.task_id} opening")
        except (RemoteError, OSError) as error:
            return error
        if lanes is None:
            return ConnectionLost()
        self._lanes, (quick, bulk) = lanes, lanes
        if self._state == "starting":
            self._turn("syncing")
        workers: tuple[tuple[str, Callable[[], None]], ...] = (
            ("scanner", self._scan),
            ("quick", lambda: self._bring_quick(quick)),
            ("bulk", lambda: self._bring_bulk(bulk)),
        )
        self._threads = [
            threading.Thread(target=self._guard, args=(work,), name=f"{self.task_id} {name}", daemon=True)
            for name, work in workers
        ]
        for thread in self._threads:
            thread.start()
        while not self._stopping.is_set() and not self._broken.wait(_SAVE_S):
            self._known.save()
            if not self.connection.is_alive:
                self._break(ConnectionLost())
        self._interrupt()
        self._join()
        self._known.save()
        return self._failure or ConnectionLost()

    def _join(self) -> None:
        """Wait for the three threads, which have been told to end."""
        until = time.monotonic() + _STOP_S
        while any(thread.is_alive() for thread in self._threads) and (now := time.monotonic()) < until:
            if self._stopping.is_set():
                until = min(until, now + _READ_S)
            for thread in self._threads:
                thread.join(_LOOK_S)

    def _turn(self, state: State) -> None:
        """Be in a state, and tell the log if it is another one."""
        if state == self._state:
            return
        self._state = state
        source, error = self.source.target.connection_id, self._stats.last_error
        self._journal.tell(MirrorChanged(source=source, remote_root=self.source.root, state=state, error=error))

    def _open_lanes(self) -> list[Lane]:
        lanes: list[Lane] = []
        try:
            for _ in range(2):
                lanes.append(
                    Lane(self.connection, self.source.root, self._known, self._claims, self._stats, self._check)
                )
        except BaseException:
            _close(lanes)
            raise
        return lanes

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Stopped:
            pass
        except Exception as error:  # told to the supervisor, which decides what it means
            if not isinstance(error, RemoteError | OSError):
                logger.exception("the mirror of %s failed", self.source.target.host)
            self._break(error)

    def _break(self, error: Exception) -> None:
        if self._failure is None:
            self._failure = error
        self._broken.set()

    def _check(self) -> None:
        if self._stopping.is_set() or self._broken.is_set():
            raise Stopped

    def _interrupt(self) -> None:
        self._broken.set()
        lanes, self._lanes = self._lanes, []
        _close(lanes)

    # ── the three threads ───────────────────────────────────────────────────

    def _scan(self) -> None:
        while True:
            self._check()
            started = time.monotonic()
            found = enumerate_root(self.connection, self.source.root)
            self._check()
            self._take_up(found)
            self._stats.scans += 1
            self._last_scan_at = time.time()
            took_s = time.monotonic() - started
            pause_s = min(max(self.interval_s, _SCAN_SHARE * took_s), _MAX_SCAN_PAUSE_S)
            if self._broken.wait(pause_s):
                raise Stopped

    def _bring_quick(self, lane: Lane) -> None:
        while True:
            while (left_s := self._live_at + self.interval_s - time.monotonic()) > 0:
                self._check()
                try:
                    files = self._quick.get(timeout=min(left_s, 0.2))
                except queue.Empty:
                    continue
                self._bring(lane, files, meanwhile=lambda: self._look_at_live_if_due(lane))
                with self._mutex:
                    self._waiting_small -= 1
            self._look_at_live(lane)
            if self._stats.scans > self._scans_before and self._quick.empty():
                self._level_at = self._level_at or self._live_at
                # The file that did not fit may be among those that are still to come.
                if not self._is_hindered or not self._waiting.files:
                    self._is_good, self._is_hindered = True, False
                    self._stats.last_error = ""
                    self._turn("watching")

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
                while _is_full(error) and self._waiting_small:
                    self._check()
                    time.sleep(_LOOK_S)
                raise

    # ── what there is to do ─────────────────────────────────────────────────

    def _take_up(self, found: Enumeration) -> None:
        """Hand out what changed, runs before artifacts and small files first; forget what is gone."""
        files = [file for file in found.files if self._choosing.is_ours_to_take(file.path)]
        changed = [file for file in files if self._choosing.has_changed(file)]
        waiting = self._waiting.paths()
        for file in changed:
            # What an earlier scan has found, and nobody has come to bring yet, did not change just now.
            if self._last_scan_at is not None and file.path not in waiting:
                self._choosing.has_just_changed(file.path)
        changed.sort(key=lambda file: (file.path.startswith("artifacts/"), file.size))
        self._claims.claim((file.path for file in changed), self._check)
        tell_origins(self._known, self.source, self._record)
        small = self._take([file for file in changed if is_small(file, self._known)])
        if small:
            with self._mutex:
                self._waiting_small += 1
            self._quick.put(small)
        for file in self._take([file for file in changed if not is_small(file, self._known)]):
            self._bulk.put(file)
        self._stats.failed_files += found.unreadable
        if found.is_complete:
            self._forget_missing({file.path for file in files})

    def _forget_missing(self, present: set[str]) -> None:
        """What is gone there stays here; only a recycle-bin marker that was mirrored goes, so that a restore arrives.

        A run that was deleted for good there has no marker either, and stays in the recycle bin here.
        """
        units = {unit_of(path) for path in present}
        unmarked, self._unmarked = self._unmarked, set()
        for path in self._known.paths():
            if path in present:
                continue
            if path.rpartition("/")[2] == ".deleted" and unit_of(path) in units:
                if path not in unmarked:  # a run that is just being deleted may have lost it before its other files
                    self._unmarked.add(path)
                    continue
                tree = self._claims.tree_of(path)
                if tree is not None:
                    with tree.place(path) as place:
                        place.remove()
            self._known.set_file(path, None)

    def _look_at_live_if_due(self, lane: Lane) -> None:
        if time.monotonic() - self._live_at >= self.interval_s:
            self._look_at_live(lane)

    def _look_at_live(self, lane: Lane) -> None:
        """Bring what changed in runs that are running, or were changed within the last minute."""
        began = self._live_at = time.monotonic()
        directories = self._choosing.live_directories()
        files = self._bring_live(lane, directories) if directories else []
        waiting = self._waiting.paths()
        if self._level_at is not None and not any(is_append_only(path) and path in waiting for path in files):
            self._level_at = began

    def _bring_live(self, lane: Lane, directories: list[str]) -> list[str]:
        """Bring what changed in these directories; large files are handed out. The paths of all of them."""
        found = enumerate_directories(self.connection, self.source.root, directories)
        files = [
            file
            for file in found.files
            if self._choosing.is_ours_to_take(file.path) and self._choosing.has_changed(file)
        ]
        files.sort(key=lambda file: file.size)
        for file in files:
            self._choosing.has_just_changed(file.path)
        self._bring(lane, self._take([file for file in files if is_small(file, self._known)]))
        for file in self._take([file for file in files if not is_small(file, self._known)]):
            self._bulk.put(file)
        return [file.path for file in files]

    # ── one thread per file ─────────────────────────────────────────────────

    def _take(self, files: list[RemoteFile]) -> list[RemoteFile]:
        """Those that no other thread has in hand; they are now."""
        return self._waiting.take([(file, self._choosing.missing(file)) for file in files])

    def _bring(self, lane: Lane, files: list[RemoteFile], meanwhile: Callable[[], None] = lambda: None) -> None:
        """Bring files that were taken, and let them go."""
        lane.bring(files, meanwhile)
        self._waiting.let_go(files)  # an error ends the attempt, and these are still to come


def _close(lanes: Iterable[Lane]) -> None:
    for lane in lanes:
        lane.close()


def _is_full(error: Exception) -> bool:
    """Whether there is no room for a file here."""
    return isinstance(error, OSError) and error.errno == errno.ENOSPC
