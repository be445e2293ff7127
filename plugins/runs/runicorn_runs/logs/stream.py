"""What a client of a live log gets, and when its stream ends.

| what happens                                        | last frame, if any                     | close code |
|-----------------------------------------------------|----------------------------------------|------------|
| unknown run; deleted while streaming                | `[error] run not found`                | 1000       |
| the log is a directory, not readable, I/O error     | `[error] log file cannot be read`      | 1000       |
| an eleventh stream of one client address            | `[error] too many log streams (limit 10)` | 1013    |
| run lookup unavailable at the start                 | `[error] <the reason>`                 | 1013       |
| server shutdown                                     |                                        | 1001       |
| a bug (logged)                                      |                                        | 1011       |

There is no idle time limit. A client that is slow is waited for: besides the frames of one read, nothing is buffered.
One that takes nothing at all for a minute is given up; it cannot have answered the server's pings either.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections import Counter
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from runicorn.plugin import LOGS_FILE, RunicornError
from runicorn_runs.logs.follow import LogFollower, LogUnreadable
from runicorn_runs.logs.watch import LogWatch
from runicorn_runs.sockets import ClientGone

logger = logging.getLogger("runicorn.runs.logs")

BACKLOG_LINES = 10_000
STREAMS_PER_CLIENT = 10

LEFT_OUT = f"[info] Showing last {BACKLOG_LINES} lines. Full log file: {LOGS_FILE}"
WAITING = "[info] No logs available yet. Waiting for logs to be created..."
AVAILABLE = "[info] Logs are now available, streaming..."

_CHECK_S = 1.0
_BLOCKED_S = 60.0
_CLOSE_S = 1.0
_BURST = 16_384  # characters sent in a row before other tasks get their turn,
_FRAME_COST = 256  # where a frame counts as so many more than it has


class LogClient(Protocol):
    """One connected client."""

    async def send(self, text: str) -> None:
        """Send one frame; waits while the client is slow. ClientGone."""
        ...

    async def close(self, code: int) -> None:
        """Close the connection, with an empty reason. ClientGone."""
        ...

    async def gone(self) -> None:
        """Return when the client has left. What it sends until then is read and ignored."""
        ...


class LogRuns(Protocol):
    """What streams need to know about runs."""

    async def find_run(self, run_id: str, /) -> Path | None:
        """The directory of a run; None if it is unknown or soft-deleted. Called once per second for each followed run."""
        ...

    def run_ended(self, run_id: str, /) -> bool:
        """Whether the run has ended. Called, on the event loop, when an unterminated line is held back."""
        ...


class Ending(msgspec.Struct, frozen=True):
    """How a stream ends: an optional last frame, and a close code."""

    code: int
    frame: str | None = None


RUN_NOT_FOUND = Ending(1000, "[error] run not found")
UNREADABLE = Ending(1000, "[error] log file cannot be read")
STALLED = Ending(1013)
TOO_MANY = Ending(1013, f"[error] too many log streams (limit {STREAMS_PER_CLIENT})")
SHUTDOWN = Ending(1001)
BUG = Ending(1011)
LEFT = Ending(1000)  # nobody sees it


class LogStreams:
    """All log streams of one API worker; the limit per client counts this worker's streams.

    Used on one event loop; use it as an async context manager, or call `close`.
    """

    def __init__(self, runs: LogRuns) -> None:
        self._runs = runs
        self._watch = LogWatch()
        self._open: Counter[str] = Counter()
        self._streams: set[_Stream] = set()
        self._checks: asyncio.Task[None] | None = None
        self._closing = False

    async def __aenter__(self) -> LogStreams:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def serve(
        self, client: LogClient, run_id: str, *, offset: int | None = None, counted_as: str | None = None
    ) -> None:
        """Stream the log of a run until the client leaves or the stream ends; an accepted connection is closed then.

        `offset` is a byte of the log to start at, instead of the last 10 000 lines; beyond its end means 0. `counted_as`
        is the address under which this stream counts against the limit; None: no limit.
        """
        if counted_as is not None and self._open[counted_as] >= STREAMS_PER_CLIENT:
            await _end(client, TOO_MANY)
            return
        stream = _Stream(run_id, client)
        left = asyncio.create_task(client.gone())
        log = asyncio.create_task(self._send_log(stream, offset))
        with self._listed(stream, counted_as):
            try:
                await asyncio.wait((left, log, stream.stopped), return_when=asyncio.FIRST_COMPLETED)
                if not left.done():
                    await _stop(log)
                    await _end(client, stream.stopped.result() if stream.stopped.done() else _outcome(log))
            finally:
                await _stop(log, left)

    async def close(self) -> None:
        """Close all streams with 1001, at the latest after a second; new ones are closed at once."""
        self._closing = True
        for stream in self._streams:
            stream.stop(SHUTDOWN)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                while self._streams:
                    await asyncio.wait([stream.finished for stream in self._streams])
        if self._checks is not None:
            await _stop(self._checks)
        await self._watch.close()

    @contextlib.contextmanager
    def _listed(self, stream: _Stream, counted_as: str | None) -> Generator[None]:
        if counted_as is not None:
            self._open[counted_as] += 1
        self._streams.add(stream)
        if self._closing:
            stream.stop(SHUTDOWN)
        elif self._checks is None:
            self._checks = asyncio.create_task(self._check_streams(), name="log-streams")
        try:
            yield
        finally:
            self._streams.discard(stream)
            stream.finished.set_result(None)
            if counted_as is not None:
                self._open[counted_as] -= 1
                if not self._open[counted_as]:
                    del self._open[counted_as]

    async def _send_log(self, stream: _Stream, offset: int | None) -> Ending:
        run_id = stream.run_id
        try:
            directory = await self._runs.find_run(run_id)
            if directory is None:
                return RUN_NOT_FOUND
            path, ended = directory / LOGS_FILE, functools.partial(self._run_ended, run_id)
            async with self._watch.follow(path, ended, lines=BACKLOG_LINES, offset=offset) as log:
                await _announce(stream, log)
                while True:
                    await stream.send(await log.next_frames())
        except LogUnreadable:
            return UNREADABLE
        except RunicornError as error:
            return Ending(1013, f"[error] {error}")

    def _run_ended(self, run_id: str) -> bool:
        try:
            return self._runs.run_ended(run_id)
        except RunicornError:  # not known now: the line is sent a second later
            return False

    async def _check_streams(self) -> None:
        """End the streams of runs that are gone, and of clients that take nothing."""
        try:
            while self._streams:
                await asyncio.sleep(_CHECK_S)
                for run_id in {stream.run_id for stream in self._streams}:
                    if await self._is_gone(run_id):
                        for stream in self._streams:
                            if stream.run_id == run_id:
                                stream.stop(RUN_NOT_FOUND)
                    await asyncio.sleep(0)
                for stream in self._streams:
                    if stream.is_blocked:
                        stream.stop(STALLED)
        finally:
            self._checks = None

    async def _is_gone(self, run_id: str) -> bool:
        try:
            return await self._runs.find_run(run_id) is None
        except RunicornError:
            return False  # not known now: the next check will tell
        except Exception:
            logger.exception("looking up a followed run failed")
            return False


class _Stream:
    """One client on one log."""

    def __init__(self, run_id: str, client: LogClient) -> None:
        loop = asyncio.get_running_loop()
        self.run_id = run_id
        self.stopped: asyncio.Future[Ending] = loop.create_future()
        self.finished: asyncio.Future[None] = loop.create_future()
        self._client = client
        self._loop = loop
        self._sending_since: float | None = None

    @property
    def is_blocked(self) -> bool:
        """Whether the client has not taken anything for too long, though there is something for it."""
        return self._sending_since is not None and self._loop.time() - self._sending_since > _BLOCKED_S

    async def send(self, frames: Sequence[str]) -> None:
        """Send frames at the speed of the client. ClientGone."""
        burst = 0
        for frame in frames:
            self._sending_since = self._loop.time()
            await self._client.send(frame)
            burst += len(frame) + _FRAME_COST
            if burst > _BURST:  # sending itself waits only for a slow client
                burst = 0
                await asyncio.sleep(0)
        self._sending_since = None

    def stop(self, ending: Ending) -> None:
        """End the stream, unless something else ends it already."""
        if not self.stopped.done():
            self.stopped.set_result(ending)


async def _announce(stream: _Stream, log: LogFollower) -> None:
    if log.older:
        await stream.send([LEFT_OUT])
    if log.missing:
        await stream.send([WAITING])
        await log.wait_for_file()
        await stream.send([AVAILABLE])


async def _end(client: LogClient, ending: Ending) -> None:
    with contextlib.suppress(TimeoutError, ClientGone):
        async with asyncio.timeout(_CLOSE_S):
            if ending.frame is not None:
                await client.send(ending.frame)
            await client.close(ending.code)


def _outcome(log: asyncio.Task[Ending]) -> Ending:
    error = log.exception()
    if error is None:
        return log.result()
    if isinstance(error, ClientGone):
        return LEFT
    logger.error("a log stream failed", exc_info=error)
    return BUG


async def _stop(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
