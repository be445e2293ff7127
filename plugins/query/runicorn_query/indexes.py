"""What this plugin keeps beside the read models, the index of logs and the vectors of runs, and the process that does so.

`python -m runicorn_query.indexes --root R --state-dir S` runs beside the server, at idle priority: it takes the processor
when nobody else wants it. It is the only writer, by a lock in the state directory (exit status 75 if another has it), and
ends with its standard input. Both files can be built again from the logs, so it may be killed at any time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import select
import stat
import sys
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from runicorn.plugin import (
    EXIT_LOCKED,
    ChildProcess,
    LockTimeout,
    OpenedStore,
    RunicornError,
    StorageUnavailable,
    Store,
    file_lock,
    open_store,
    set_up_logging,
)
from runicorn_query.index_database import TROUBLE, remove
from runicorn_query.search.index_file import index_path
from runicorn_query.search.indexer import Indexer
from runicorn_query.search.settings import Settings
from runicorn_query.similar.writer import VectorWriter

logger = logging.getLogger("runicorn.query")

_LOCK = "query-indexes.lock"
_LOOK_S = 1.0
_SWEEP_S = 5.0
_SWEEP_SHARE = 0.05
_VECTORS_S = 60.0  # vectors are compared with all runs; changed ones are looked at every second
_START_S = 1.0

Progress = Callable[[int], None]


class Indexes:
    """Both files, opened for writing. Use `writing` to get one."""

    def __init__(self, store: OpenedStore, should_stop: Callable[[], bool] = lambda: False) -> None:
        settings = Settings.load()
        self._store = store
        self._should_stop = should_stop
        self._logs: Indexer | None = None
        if settings.is_off:
            remove(index_path(store.state_dir))
        else:
            self._logs = Indexer(store.root, store.state_dir, settings, should_stop)
        self._vectors: VectorWriter | None = None

    def sweep_logs(self, progress: Progress = lambda count: None) -> None:
        """Look at every log; `progress` gets the bytes that were read."""
        if self._logs is not None:
            self._logs.sweep(progress)

    def sweep_vectors(self) -> None:
        """Compare the vector of every run. StorageUnavailable while there is no list of runs."""
        self._open_vectors().sweep()

    def update(self) -> None:
        """Look at logs that are being written to, and at runs that changed."""
        if self._logs is not None:
            self._logs.look_at_active()
        with contextlib.suppress(StorageUnavailable):
            self._open_vectors().update()

    def close(self) -> None:
        """Close the files."""
        if self._logs is not None:
            self._logs.close()
        if self._vectors is not None:
            self._vectors.close()

    def _open_vectors(self) -> VectorWriter:
        if self._vectors is None:
            runs = self._store.model("runs")
            self._vectors = VectorWriter(self._store.log, self._store.state_dir, runs, self._should_stop)
        return self._vectors


@contextmanager
def writing(store: OpenedStore, should_stop: Callable[[], bool] = lambda: False) -> Generator[Indexes]:
    """Be the only writer of both files. LockTimeout if another process is."""
    with file_lock(store.state_dir / _LOCK, timeout_s=0):
        indexes = Indexes(store, should_stop)
        try:
            yield indexes
        finally:
            indexes.close()


@asynccontextmanager
async def kept_level(store: Store) -> AsyncGenerator[None]:
    """Have the process run beside the server; one for all workers."""
    from runicorn_query.search.log_index import LogIndex

    arguments = ["--root", str(store.root), "--state-dir", str(store.state_dir)]
    process = ChildProcess("indexer", "runicorn_query.indexes", arguments)
    tasks = [asyncio.create_task(store.own(LogIndex).watch(), name="log-index")]
    if store.is_leader:
        tasks.append(asyncio.create_task(_start_later(process), name="start-indexer"))
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await process.stop()


async def _start_later(process: ChildProcess) -> None:
    await asyncio.sleep(_START_S)  # the server starts first, and one that ends at once needs no index
    await process.start()


def main() -> int:
    """Keep both files level until the parent ends; the exit status."""
    parser = argparse.ArgumentParser(prog="runicorn_query.indexes", description=__doc__)
    parser.add_argument("--root", required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    arguments = parser.parse_args()
    set_up_logging("warning")
    _be_idle()
    try:
        with (
            open_store(arguments.root, arguments.state_dir, is_level=False) as store,
            writing(store, _is_orphaned) as indexes,
        ):
            _work(store, indexes)
    except LockTimeout:
        return EXIT_LOCKED
    except (RunicornError, OSError, *TROUBLE) as error:
        logger.error("the indexes cannot be written: %s", error)
        return 1
    return 0


def _work(store: OpenedStore, indexes: Indexes) -> None:
    next_logs = next_vectors = 0.0
    pause = 0.0
    while not _is_orphaned(pause):
        pause = _LOOK_S
        started = time.monotonic()
        if started >= next_logs:
            store.reopen()  # a newer file of the list of runs may have taken over
            indexes.sweep_logs()
            took = time.monotonic() - started
            next_logs = started + max(_SWEEP_S, took / _SWEEP_SHARE)
        if started >= next_vectors:
            with contextlib.suppress(StorageUnavailable):
                indexes.sweep_vectors()
                now = time.monotonic()
                next_vectors = now + max(_VECTORS_S, (now - started) / _SWEEP_SHARE)
        indexes.update()


def _is_orphaned(wait_s: float = 0.0) -> bool:
    """Whether the process that started this one is gone; waits for that. Never, where standard input is no pipe."""
    if not stat.S_ISFIFO(os.fstat(0).st_mode):
        time.sleep(wait_s)
        return False
    readable, _, _ = select.select([0], [], [], wait_s)
    return bool(readable) and not os.read(0, 4096)


def _be_idle() -> None:
    os.nice(19)
    with contextlib.suppress(AttributeError, OSError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


if __name__ == "__main__":
    sys.exit(main())
