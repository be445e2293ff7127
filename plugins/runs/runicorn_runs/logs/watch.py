"""The watch over all followed logs of a process: one `stat` per file and tick, whatever the number of clients.

Looks are made in one thread of the watch's own, so a file system that hangs stops neither the event loop nor reads of
other logs. Polling instead of inotify: it works on network file systems, and a tick costs about 2 µs per followed file.
Its price: a file that had the name for less than a tick is not seen.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

from runicorn_runs.logs.file import NOT_LOOKED, Look, look_at
from runicorn_runs.logs.follow import LogFollower

logger = logging.getLogger("runicorn.runs.logs")

_TICK_S = 0.05
_LONGEST_TICK_S = 0.4
_SHARE = 20  # of the time between two looks at all files, looking takes at most a twentieth
_READ_THREADS = 4


class LogWatch:
    """Followers of logs, and the task that wakes them; it runs only while there are any. Used on one event loop."""

    def __init__(self) -> None:
        self._logs: dict[Path, _WatchedLog] = {}
        self._task: asyncio.Task[None] | None = None
        self._looks = ThreadPoolExecutor(1, thread_name_prefix="log-watch")
        self._reads = ThreadPoolExecutor(_READ_THREADS, thread_name_prefix="log-read")

    @asynccontextmanager
    async def follow(
        self, path: Path, run_ended: Callable[[], bool], *, lines: int, offset: int | None = None
    ) -> AsyncGenerator[LogFollower]:
        """Follow the log at `path`, which need not exist yet.

        It starts with the last `lines` complete lines, or at the byte `offset` (0 if the file is shorter); a file that
        appears later is read from its start. `run_ended` says that an unterminated line will not be continued.
        LogUnreadable.
        """
        log = self._logs.setdefault(path, _WatchedLog(path))
        follower = LogFollower(self._reads, run_ended)
        log.followers.add(follower)
        try:
            await self._look([log])
            log.join(follower)
            if self._task is None:
                self._task = asyncio.create_task(self._run(), name="log-watch")
            await follower.start(lines, offset)
            yield follower
        finally:
            follower.leave()
            log.followers.discard(follower)
            if not log.followers:
                self._logs.pop(path, None)

    async def close(self) -> None:
        """Stop watching. End all followers first."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._looks.shutdown(wait=False, cancel_futures=True)
        self._reads.shutdown(wait=False, cancel_futures=True)

    async def _run(self) -> None:
        pause_s = _TICK_S
        try:
            while self._logs:
                await asyncio.sleep(pause_s)
                spent_s = await self._look(list(self._logs.values()))
                pause_s = min(max(_TICK_S, spent_s * _SHARE), _LONGEST_TICK_S)
        finally:
            self._task = None

    async def _look(self, logs: Sequence[_WatchedLog]) -> float:
        """Look at some logs and tell their followers; the seconds that looking took."""
        changes, spent_s = await asyncio.get_running_loop().run_in_executor(self._looks, _changes, logs)
        for log, before, now in changes:
            log.apply(before, now)
        return spent_s


class _WatchedLog:
    """One followed path. Its state moves on the event loop only."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last = NOT_LOOKED
        self.followers: set[LogFollower] = set()

    def join(self, follower: LogFollower) -> None:
        """Give a new follower what the path names; a file that is only waiting to be replaced is not for it."""
        follower.missing = self.last.names == "nothing"
        if self.last.names == "unreadable":
            follower.fail()
        elif self.last.names == "file" and self.last.file is not None and not follower.has_file:
            follower.add(self.last.file)

    def apply(self, before: Look, now: Look) -> None:
        """Tell the followers what changed since `before`."""
        if self.last is not before:
            return  # another look was faster; the next tick sees what this one saw
        self.last = now
        if now.names == "unreadable":
            logger.warning("a log file cannot be read: %s", now.reason)
        if before.file is not None and now.file is not before.file:
            before.file.ended = True
        for follower in self.followers:
            if now.names == "unreadable":
                follower.fail()
            elif now.file is not None and now.file is not before.file:
                follower.add(now.file)
            else:
                follower.notice()


def _changes(logs: Sequence[_WatchedLog]) -> tuple[list[tuple[_WatchedLog, Look, Look]], float]:
    started = time.perf_counter()
    changes: list[tuple[_WatchedLog, Look, Look]] = []
    for log in logs:
        before = log.last
        now = look_at(log.path, before)
        if now != before:
            changes.append((log, before, now))
    return changes, time.perf_counter() - started
