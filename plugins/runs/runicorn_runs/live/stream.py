"""What one client of live events gets: how it begins, in which order notices come, and when it ends.

| what happens                                     | message                                  | end                          |
|--------------------------------------------------|------------------------------------------|------------------------------|
| it connects, without a position                  | `hello` with the position to go on from  |                              |
| it connects with a position that is still known  | `hello`, then what it has missed         |                              |
| it connects with one that is not                 | `reset`: read everything anew            |                              |
| read models were built anew                      | `reset`                                  |                              |
| it is slower than what happens                   | metrics of a run are joined              |                              |
| … and something that waited for it is gone       | `reset`                                  | WebSocket 1013, end of answer |
| nothing happens for a while                      | a heartbeat with the current position    |                              |
| the server stops, or turns to another root       |                                          | WebSocket 1001, end of answer |
| too many streams of one client                   | WebSocket: `error`; else 429             | WebSocket 1013               |
| a parameter is wrong                             | WebSocket: `error`; else 400             | WebSocket 1008               |

Nothing is buffered for a client but what is sent at once.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager

from runicorn.plugin import BadInput, RunicornError, Store
from runicorn_runs.live.filters import Wanted
from runicorn_runs.live.hub import Listener, LiveHub
from runicorn_runs.live.notices import HEARTBEAT, RESET, Notice

STREAMS_PER_CLIENT = 20
HEARTBEAT_S = 15.0

_POSITION = re.compile(r"[0-9a-z]{1,32}\.[0-9]{1,18}", re.ASCII)


class TooManyStreams(RunicornError):
    """A client has as many live streams open as it may have."""

    status = 429

    def __init__(self) -> None:
        super().__init__(f"Too many live streams (limit {STREAMS_PER_CLIENT})")


class SlowClient(Exception):
    """The stream is over: something that waited for the client is gone."""


class LiveStreams:
    """All live streams of one API worker; the limit per client counts this worker's streams."""

    def __init__(self, store: Store) -> None:
        self._hub = LiveHub(store)
        self._open: Counter[str] = Counter()

    async def open(self, counted_as: str | None) -> None:
        """To be called before `messages`, while an error can still be an answer. TooManyStreams."""
        if counted_as is not None and self._open[counted_as] >= STREAMS_PER_CLIENT:
            raise TooManyStreams
        await self._hub.open()

    async def messages(self, wanted: Wanted, since: str | None, counted_as: str | None) -> AsyncGenerator[list[Notice]]:
        """Messages as they come, to be sent before the next are asked for; SlowClient behind the last ones."""
        listener = Listener(wanted)
        with self._counted(counted_as):
            try:
                await self._hub.open()
                yield [self._hub.join(listener, since)]
                while not listener.ended:
                    notices = self._hub.take(listener)
                    if notices is None:
                        yield [Notice(type=RESET, position=self._hub.position())]
                        raise SlowClient
                    if notices:
                        yield notices
                        continue
                    try:
                        async with asyncio.timeout(HEARTBEAT_S):
                            await listener.news.wait()
                    except TimeoutError:
                        yield [Notice(type=HEARTBEAT, position=self._hub.position())]
            finally:
                self._hub.leave(listener)

    async def close(self) -> None:
        """End all streams."""
        await self._hub.close()

    @contextmanager
    def _counted(self, counted_as: str | None) -> Generator[None]:
        if counted_as is None:
            yield
            return
        if self._open[counted_as] >= STREAMS_PER_CLIENT:
            raise TooManyStreams
        self._open[counted_as] += 1
        try:
            yield
        finally:
            self._open[counted_as] -= 1
            if not self._open[counted_as]:
                del self._open[counted_as]


def read_position(text: str) -> str:
    """A position that a client gives. BadInput if it cannot be one."""
    if not _POSITION.fullmatch(text):
        raise BadInput("Invalid value for since: not the id of a notice")
    return text
