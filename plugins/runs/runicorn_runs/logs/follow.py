"""One client's way through the files of a log: lines from where it starts, and every later one, once and in order."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from typing import ParamSpec, TypeVar

from runicorn_runs.logs.file import LogFile
from runicorn_runs.logs.lines import LineSplitter
from runicorn_runs.logs.tail import find_tail

logger = logging.getLogger("runicorn.runs.logs")

READ_BYTES = 1 << 18
"""Size of one read: what a client that does not keep up holds in memory."""

FLUSH_S = 1.0
"""An unterminated last line that has not grown for so long is a frame."""

_MARK_BYTES = 64

P = ParamSpec("P")
R = TypeVar("R")


class LogUnreadable(Exception):
    """The path names something that is not a readable file, or reading failed."""


class LogFollower:
    """Reads the files of one path, one after the other, for one client.

    `LogWatch` makes followers and tells them when there may be something to read and which file comes next. Reading runs
    in threads, and only then; an idle follower is a waiting task without a timer.
    """

    def __init__(self, threads: Executor, run_ended: Callable[[], bool]) -> None:
        self.older = False
        """Whether lines before the first one were left out."""
        self.missing = False
        """Whether the path named nothing when this follower started."""
        self._threads = threads
        self._run_ended = run_ended
        self._files: deque[LogFile] = deque()  # the one being read, and those that replaced it since
        self._news = asyncio.Event()
        self._unreadable = False
        self._splitter = LineSplitter()
        self._position = 0
        self._head = b""  # the first bytes of the file, and the last ones before the position: at most 64 each
        self._before = b""
        self._grown_at = 0.0  # by the clock of the event loop

    @property
    def has_file(self) -> bool:
        """Whether there is a file to read."""
        return bool(self._files)

    def notice(self) -> None:
        """The file may have changed."""
        self._news.set()

    def add(self, file: LogFile) -> None:
        """The path names another file: to be read from its start, after what is left of the one before."""
        self._files.append(file)
        self._news.set()

    def fail(self) -> None:
        """The path cannot be read."""
        self._unreadable = True
        self._news.set()

    def leave(self) -> None:
        """Let go of all files."""
        self._files.clear()

    async def start(self, lines: int, offset: int | None) -> None:
        """Begin with the last `lines` lines, or at a byte `offset`; 0 if that is beyond the end. LogUnreadable."""
        self._check()
        if self._files:
            await self._in_thread(self._seek, self._files[0], lines, offset)

    async def wait_for_file(self) -> None:
        """Wait until there is a file. LogUnreadable."""
        while not self._files:
            self._check()
            self._news.clear()
            await self._news.wait()
        self._check()

    async def next_frames(self) -> list[str]:
        """Wait for the next frames: as many as one read of at most 256 KiB completes. LogUnreadable."""
        while True:
            if not self._news.is_set():
                if frames := await self._idle():
                    return frames
                continue
            self._news.clear()
            self._check()
            if not self._files:
                continue
            file = self._files[0]
            ended = file.ended  # before reading: what is written until then belongs to it
            frames, grown, at_end = await self._in_thread(self._read, file)
            if grown:
                self._grown_at = asyncio.get_running_loop().time()
            if not at_end:
                self._news.set()
            elif ended:
                frames += self._splitter.close()
                self._files.popleft()
                self._rewind()
                self._news.set()
            if frames:
                return frames

    async def _idle(self) -> list[str]:
        """Wait for news, or until the unterminated line has to be sent."""
        if not self._splitter.holds_text:
            await self._news.wait()
            return []
        if not self._run_ended():
            try:
                async with asyncio.timeout_at(self._grown_at + FLUSH_S):
                    await self._news.wait()
                return []
            except TimeoutError:
                pass
        return self._splitter.flush()

    def _check(self) -> None:
        if self._unreadable:
            raise LogUnreadable

    async def _in_thread(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, lambda: function(*args, **kwargs))
        except OSError as error:
            logger.warning("a log file cannot be read: %s", error)
            raise LogUnreadable from None

    def _seek(self, file: LogFile, lines: int, offset: int | None) -> None:
        if offset is None:
            tail = find_tail(file, lines)
            self._position, self.older = tail.offset, tail.older
        elif offset <= file.stat().st_size:
            self._position = offset
        marked = min(self._position, _MARK_BYTES)
        self._head = file.read(0, marked)
        self._before = file.read(self._position - marked, marked)

    def _read(self, file: LogFile) -> tuple[list[str], bool, bool]:
        """The frames of one read, whether there was anything to read, and whether it reached the end of the file."""
        frames: list[str] = []
        data = file.read(self._position - len(self._before), len(self._before) + READ_BYTES)
        # A file that was truncated may be longer than the position again: then only its content tells.
        if not data.startswith(self._before) or file.read(0, len(self._head)) != self._head:
            frames += self._splitter.close()
            self._rewind()
            data = file.read(0, READ_BYTES)
        new = data[len(self._before) :]
        if new:
            frames += self._splitter.feed(new)
            self._position += len(new)
            self._head = (self._head + new[:_MARK_BYTES])[:_MARK_BYTES]
            self._before = data[-_MARK_BYTES:]
        return frames, bool(new), len(new) < READ_BYTES

    def _rewind(self) -> None:
        self._position, self._head, self._before = 0, b"", b""
