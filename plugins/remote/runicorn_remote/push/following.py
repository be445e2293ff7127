"""Pushing a run while it is recorded: what grows, until the run has ended or its process is gone; then all of it once more.

A connection that is lost is made again for as long as the run lives, and a few times after its end.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from runicorn.plugin import (
    META_FILE,
    RUNNING,
    STATUS_FILE,
    ProcessIdentity,
    RunicornError,
    has_ended,
    integer,
    number,
    read_json_object,
    text,
)
from runicorn_remote.channels import translated
from runicorn_remote.connection import Connection
from runicorn_remote.errors import ConnectFailed, ConnectionLost, OperationTimeout
from runicorn_remote.paths import absolute_path
from runicorn_remote.push.pushing import PushBusy, Pusher, PushStats

logger = logging.getLogger("runicorn.remote")

_INTERVAL_S = 1.0
_LOOK_S = 0.1
_MAX_PAUSE_S = 30.0
_LAST_ATTEMPTS = 6


class RunProcess:
    """Whether a run is being recorded, as its files say."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._status: tuple[tuple[int, int, int], bool] | None = None

    def has_said_so(self) -> bool:
        """Whether the run's status is a final one. Cheap: one `stat`, mostly."""
        path = self._run_dir / STATUS_FILE
        try:
            found = path.stat()
        except OSError:  # removed, or not there: nothing to follow
            return True
        seen = (found.st_ino, found.st_mtime_ns, found.st_size)
        if self._status is None or self._status[0] != seen:
            self._status = seen, (read_json_object(path) or {}).get("status") != RUNNING
        return self._status[1]

    def is_gone(self) -> bool:
        """Whether the process that recorded it has certainly ended."""
        meta = read_json_object(self._run_dir / META_FILE) or {}
        recorded = ProcessIdentity(
            pid=integer(meta.get("pid")) or 0,
            pid_started_at=number(meta.get("pid_started_at")),
            boot_id=text(meta.get("boot_id")),
            pid_start_ticks=integer(meta.get("pid_start_ticks")),
            pid_ns=integer(meta.get("pid_ns")),
        )
        return has_ended(recorded, host=text(meta.get("hostname")), known_at=number(meta.get("created_at")))


class Follower:
    """Pushes one run until its end. `stop` has it end early, with a last push."""

    def __init__(self, connect: Callable[[], Connection], root: Path, path: str, key: str) -> None:
        """`connect` logs in; `path` is the storage root there, `key` the run's below `root`."""
        self._connect = connect
        self._root = root
        self._path = path
        self._key = key
        self._run = RunProcess(root / key)
        self._connection: Connection | None = None
        self._pusher: Pusher | None = None
        self._stopping = threading.Event()
        self.stats = PushStats()

    def stop(self) -> None:
        """Have it push once more, and end. For any thread, and for signal handlers."""
        self._stopping.set()

    def follow(self) -> None:
        """Push until the run has ended and all of it is there.

        A Conflict if the run there is another one; an error of the connection that trying again does not help, or did not.
        """
        attempt = 0
        try:
            while True:
                is_last = self._is_over()
                sent = self.stats.sent_bytes
                try:
                    self._push(is_last=is_last)
                    if is_last:
                        self.stats.note(None)
                        return
                    attempt = 0
                    self._wait(_INTERVAL_S, is_last=False)
                except (ConnectFailed, ConnectionLost, OperationTimeout, PushBusy) as error:
                    self._drop()
                    attempt = 1 if self.stats.sent_bytes > sent else attempt + 1
                    if _is_final(error) or (is_last and attempt >= _LAST_ATTEMPTS):
                        raise
                    if attempt == 1 and not isinstance(error, PushBusy):
                        logger.warning("%s; it is tried again", _sentence(error))
                    self._wait(min(2.0 ** (attempt - 1), _MAX_PAUSE_S), is_last=is_last)
        finally:
            self._drop()
            if self._connection is not None:
                self._connection.close()

    def _push(self, *, is_last: bool) -> None:
        if self._pusher is None:
            self._pusher = self._new_pusher()
        if is_last:
            self._pusher.forget()
        for pushed in self._pusher.push([self._key]):
            if pushed.failure is not None:
                raise pushed.failure

    def _new_pusher(self) -> Pusher:
        if self._connection is None:
            self._connection = self._connect()
        self._connection.reconnect()
        with self._connection.shared_sftp() as sftp, translated(self._path):
            remote_root = absolute_path(self._path, sftp.normalize("."))
        return Pusher(self._connection, self._root, remote_root, self.stats)

    def _drop(self) -> None:
        if self._pusher is not None:
            self._pusher.close()
            self._pusher = None

    def _is_over(self) -> bool:
        return self._stopping.is_set() or self._run.has_said_so() or self._run.is_gone()

    def _wait(self, seconds: float, *, is_last: bool) -> None:
        """A pause, which the end of the run cuts short."""
        deadline = time.monotonic() + seconds
        while (left_s := deadline - time.monotonic()) > 0:
            if not is_last and (self._stopping.is_set() or self._run.has_said_so()):
                return
            time.sleep(min(left_s, _LOOK_S))


def _is_final(error: RunicornError) -> bool:
    return isinstance(error, ConnectFailed) and error.is_final


def _sentence(error: RunicornError) -> str:
    return error.for_people.rstrip(".") if isinstance(error, ConnectFailed) else str(error)
