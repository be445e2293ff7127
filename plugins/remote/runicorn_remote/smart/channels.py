"""Fetching many small files over several channels of a connection at once.

On one channel two batches are under way at a time: with a long delay, or a server that takes its time with each file, that
is far from what the link can carry. A channel that the server refuses is done without.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence

from runicorn_remote.connection import Connection
from runicorn_remote.errors import ConnectionLost, OperationTimeout, RemoteError
from runicorn_remote.pipeline import Fetched, Pipeline

MAX_CHANNELS = 4
_MAX_BYTES = 16 << 20
"""Of files that are under way, or here and not written yet."""

_BATCHES_EACH = 4
"""So many batches a channel must have to do, or opening it takes longer than it saves."""

_LOOK_S = 0.1

Batch = Sequence[tuple[str, int]]
Answers = Sequence[Fetched | Exception]


def fetched_over_channels(
    connection: Connection, groups: Sequence[Batch], check: Callable[[], None]
) -> Generator[tuple[Batch, Answers]]:
    """Each batch with its answers (see `Pipeline.fetch`), in the order in which they come.

    `check` is called often, and raises when it is to end. Errors as of `Connection.open_sftp` for the first channel, those of
    the connection, and what `check` raises; all channels are closed then.
    """
    if not groups:
        return
    count = min(MAX_CHANNELS, 1 + (len(groups) - 1) // _BATCHES_EACH)
    fetching = _Fetching(connection, groups)
    try:
        fetching.begin(others=count - 1)
        for _ in groups:
            yield fetching.next(check)
    finally:
        fetching.end()


class _Fetching:
    """The threads of one fetch, one per channel."""

    def __init__(self, connection: Connection, groups: Sequence[Batch]) -> None:
        self._connection = connection
        self._left = deque(groups)
        self._mutex = threading.Lock()
        self._room = threading.Condition(self._mutex)
        self._bytes = 0
        self._last = 0
        """Of the batch that is being written."""
        self._has_ended = False
        self._pipelines: list[Pipeline] = []
        self._results: queue.SimpleQueue[tuple[Batch, Answers] | Exception] = queue.SimpleQueue()

    def begin(self, *, others: int) -> None:
        """Work on one channel, and when that is open on so many others."""
        self._start(lambda: self._work(others))

    def _start(self, work: Callable[[], None]) -> None:
        threading.Thread(target=work, name="smart fetch", daemon=True).start()

    def next(self, check: Callable[[], None]) -> tuple[Batch, Answers]:
        """What came next."""
        with self._room:
            self._bytes -= self._last
            self._last = 0
            self._room.notify_all()
        while True:
            check()
            with contextlib.suppress(queue.Empty):
                result = self._results.get(timeout=_LOOK_S)
                if isinstance(result, Exception):
                    raise result
                self._last = _size(result[0])
                return result

    def end(self) -> None:
        """Close the channels; threads that wait on them wake up, and end."""
        with self._room:
            self._has_ended = True
            self._room.notify_all()
            pipelines = list(self._pipelines)
        for pipeline in pipelines:
            pipeline.close()

    def _work(self, others: int) -> None:
        try:
            pipeline = Pipeline(self._connection.open_sftp())
        except Exception as error:
            self._put(error)
            return
        for _ in range(others):
            self._start(self._help)
        self._work_on(pipeline)

    def _help(self) -> None:
        try:
            pipeline = Pipeline(self._connection.open_sftp(is_needed=False))
        except (RemoteError, OSError):  # the others do without
            return
        self._work_on(pipeline)

    def _work_on(self, pipeline: Pipeline) -> None:
        try:
            with self._mutex:
                self._pipelines.append(pipeline)
                has_ended = self._has_ended
            if not has_ended:
                self._fetch(pipeline)
        except Exception as error:
            self._put(error)
        finally:
            with contextlib.suppress(RemoteError, OSError):
                pipeline.close()

    def _fetch(self, pipeline: Pipeline) -> None:
        while (first := self._take(may_wait=True)) is not None:
            under_way = deque([first])
            for answers in pipeline.fetch_batches(self._groups(first, under_way)):
                lost = next((one for one in answers if isinstance(one, ConnectionLost | OperationTimeout)), None)
                self._put(lost or (under_way.popleft(), answers))
                del answers  # files may be large: they are the writer's now

    def _groups(self, first: Batch, under_way: deque[Batch]) -> Iterator[Batch]:
        yield first
        while (group := self._take(may_wait=False)) is not None:
            under_way.append(group)
            yield group

    def _take(self, *, may_wait: bool) -> Batch | None:
        """What to bring next; None if there is nothing.

        Where there is no room for more, also None unless the thread may wait: one that has others under way may not.
        """
        with self._room:
            while self._left and not self._has_ended:
                size = _size(self._left[0])
                if not self._bytes or self._bytes + size <= _MAX_BYTES:
                    self._bytes += size
                    return self._left.popleft()
                if not may_wait:
                    return None
                self._room.wait()
        return None

    def _put(self, result: tuple[Batch, Answers] | Exception) -> None:
        if not self._has_ended:
            self._results.put(result)


def _size(batch: Batch) -> int:
    return sum(size for _, size in batch)
