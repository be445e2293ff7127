"""Fetching many small files over several channels of a connection at once.

On one channel two batches are under way at a time: with a long delay, or a server that takes its time with each file, that
is far from what the link can carry. A channel that the server refuses is done without.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Iterator, Sequence

from runicorn_remote.connection import Connection
from runicorn_remote.errors import ConnectionLost, OperationTimeout, RemoteError
from runicorn_remote.pipeline import Fetched, Pipeline

MAX_CHANNELS = 4
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
        for number in range(count):
            fetching.begin(is_needed=number == 0)
        for _ in groups:
            yield fetching.next(check)
    finally:
        fetching.end()


class _Fetching:
    """The threads of one fetch, one per channel."""

    def __init__(self, connection: Connection, groups: Sequence[Batch]) -> None:
        self._connection = connection
        self._left = iter(groups)
        self._mutex = threading.Lock()
        self._has_ended = False
        self._pipelines: list[Pipeline] = []
        # One, and what each thread has in hand: files may have 16 MiB.
        self._results: queue.Queue[tuple[Batch, Answers] | Exception] = queue.Queue(1)

    def begin(self, *, is_needed: bool) -> None:
        """Work on one more channel."""
        threading.Thread(target=self._work, args=(is_needed,), name="smart fetch", daemon=True).start()

    def next(self, check: Callable[[], None]) -> tuple[Batch, Answers]:
        """What came next."""
        while True:
            check()
            with contextlib.suppress(queue.Empty):
                result = self._results.get(timeout=_LOOK_S)
                if isinstance(result, Exception):
                    raise result
                return result

    def end(self) -> None:
        """Close the channels; threads that wait on them wake up, and end."""
        with self._mutex:
            self._has_ended = True
            pipelines = list(self._pipelines)
        for pipeline in pipelines:
            pipeline.close()

    def _work(self, is_needed: bool) -> None:
        try:
            pipeline = Pipeline(self._connection.open_sftp(is_needed=is_needed))
        except Exception as error:
            if is_needed:
                self._put(error)
            return
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
        taken: list[Batch] = []

        def groups() -> Iterator[Batch]:
            while (group := self._take()) is not None:
                taken.append(group)
                yield group

        for number, answers in enumerate(pipeline.fetch_batches(groups())):
            lost = next((answer for answer in answers if isinstance(answer, ConnectionLost | OperationTimeout)), None)
            self._put(lost or (taken[number], answers))

    def _take(self) -> Batch | None:
        with self._mutex:
            return None if self._has_ended else next(self._left, None)

    def _put(self, result: tuple[Batch, Answers] | Exception) -> None:
        while not self._has_ended:
            with contextlib.suppress(queue.Full):
                self._results.put(result, timeout=_LOOK_S)
                return
