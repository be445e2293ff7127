"""Where streams end now, asked from an event loop: a `stat` that must not stop it where it can take minutes."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from runicorn.events.log import FileLog, Position, Stream

_THREADS = 4
_TIMEOUT_S = 0.1


class Positions:
    """The positions of the streams of a log.

    On a local disk a `stat` takes microseconds and is done at once. Where it `may_hang`, as on a network file system, it is
    done in a few threads of our own: calls that hang must not take those which everything else needs.
    """

    def __init__(self, log: FileLog, *, may_hang: bool, timeout_s: float = _TIMEOUT_S) -> None:
        self._log = log
        self._timeout_s = timeout_s
        self._threads = ThreadPoolExecutor(_THREADS, "positions") if may_hang else None

    async def of(self, stream: Stream) -> Position | None:
        """The position of a stream, None if it does not exist. TimeoutError if the file system does not answer."""
        if self._threads is None:
            return self._log.position(stream)
        loop = asyncio.get_running_loop()
        return await asyncio.wait_for(loop.run_in_executor(self._threads, self._log.position, stream), self._timeout_s)

    def close(self) -> None:
        """Wait for nothing more."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
