"""A mirror task: follows one remote root until it is stopped.

A connection that is lost, or a disk that is full, ends an attempt to follow it; the supervising thread makes the connection
again, with growing pauses, and begins anew.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from runicorn_remote.attempt import Attempt
from runicorn_remote.connection import Connection
from runicorn_remote.errors import ConnectFailed, ConnectionLost, RemoteError
from runicorn_remote.events import Journal, MirrorChanged, MirrorStarted, MirrorStopped
from runicorn_remote.mirror.following import Following
from runicorn_remote.mirror.origins import Record
from runicorn_remote.mirror.parts import Parts
from runicorn_remote.mirror.pauses import Pauses
from runicorn_remote.mirror.progress import MirrorReport, State, one_line
from runicorn_remote.mirror.source import RemoteSource
from runicorn_remote.mirror.state import RootGone

logger = logging.getLogger("runicorn.remote")

MIN_INTERVAL_S = 0.5
_STOP_S = 5.0


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
        self._given_up = given_up
        self._journal = Journal(record)
        self._parts = Parts(connection, source, local_root, record, started)
        self._state: State = "starting"
        self._stopping = threading.Event()
        self._attempt = Attempt()
        self._is_hindered = False
        """Whether the last attempt has failed here, as for a file that is larger than the disk, and not on the way."""
        self._following = self._new_following()
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
        parts, waiting = self._parts, self._following.waiting
        return MirrorReport(
            id=self.task_id,
            session_id=self.session_id,
            host=self.source.target.host,
            remote_root=self.source.root,
            local_root=str(self.local_root),
            interval=self.interval_s,
            alive=self._state in ("starting", "syncing", "watching"),
            state=self._state,
            last_error=parts.stats.last_error,
            last_scan_at=parts.last_scan_at,
            conflicts=parts.known.conflicts(),
            stats=parts.stats,
            lag_s=None if parts.level_at is None else time.monotonic() - parts.level_at,
            waiting_files=waiting.files,
            waiting_bytes=waiting.bytes,
        )

    @property
    def is_level(self) -> bool:
        """Whether all that a scan has found since the connection was made is here, or could not be brought."""
        return self._state == "watching" and not self._following.waiting.files and self._parts.stats.scans >= 2

    def request_stop(self) -> None:
        """Have it end soon, without waiting for that."""
        self._stopping.set()
        self._attempt.end()
        self._following.interrupt()

    def stop(self) -> None:
        """End it; when this returns, nothing more is written."""
        self.request_stop()
        if self._supervisor.is_alive():
            self._supervisor.join(_STOP_S)
        elif self._supervisor.ident is None:  # it was never started
            self._parts.known.close()

    def _supervise(self) -> None:
        pauses = Pauses()
        source, root, stats = self.source.target.connection_id, self.source.root, self._parts.stats
        self._journal.tell(MirrorStarted(source=source, remote_root=root, interval=self.interval_s))
        try:
            self._parts.claims.remove_parts()
            while not self._stopping.is_set():
                failure = self._follow()
                if self._stopping.is_set():
                    break
                if self._following.is_good:
                    pauses.reset()
                self._is_hindered = not isinstance(failure, RemoteError)
                stats.last_error = one_line(failure)
                if self._is_final(failure):
                    self._turn("error")
                    return
                self._turn("reconnecting")
                logger.warning("the mirror of %s pauses: %s", self.source.target.host, one_line(failure))
                if self._stopping.wait(pauses.next_s()):
                    break
        except Exception as error:  # a bug of ours: shown, not silently gone
            logger.exception("the mirror of %s failed", self.source.target.host)
            stats.last_error = one_line(error)
            self._turn("error")
        finally:
            self._parts.known.close()
            if self._stopping.is_set():
                self._state = "stopped"
                files, count = stats.copied_files, stats.copied_bytes + stats.appended_bytes
                self._journal.tell(MirrorStopped(source=source, remote_root=root, files=files, bytes=count))
            else:
                self._given_up(self)

    def _follow(self) -> Exception:
        """Make the connection if it is lost, and follow until something fails; what that was."""
        self._following = self._new_following()
        if self._stopping.is_set():  # it may have interrupted the one before
            return ConnectionLost()
        try:
            if not self.connection.is_alive:
                self.connection.reconnect(self._attempt)
        except (RemoteError, OSError) as error:
            return error
        return self._following.run()

    def _new_following(self) -> Following:
        return Following(
            self._parts,
            self._stopping,
            self.task_id,
            interval_s=lambda: self.interval_s,
            begun=self._begin,
            good=self._be_good,
            is_hindered=self._is_hindered,
        )

    def _is_final(self, failure: Exception) -> bool:
        """Whether trying again is of no use, or nobody wants it."""
        is_refused = isinstance(failure, ConnectFailed) and failure.is_final
        return is_refused or isinstance(failure, RootGone) or self.connection.is_closed

    def _begin(self) -> None:
        if self._state == "starting":
            self._turn("syncing")

    def _be_good(self) -> None:
        self._parts.stats.last_error = ""
        self._turn("watching")

    def _turn(self, state: State) -> None:
        """Be in a state, and tell the log if it is another one."""
        if state == self._state:
            return
        self._state = state
        source, error = self.source.target.connection_id, self._parts.stats.last_error
        self._journal.tell(MirrorChanged(source=source, remote_root=self.source.root, state=state, error=error))
