"""Runs whose process is gone: found, told to the log, and written to `status.json` for 0.4.0 readers.

Only what can be known is judged: a run that was made in this root, on this machine, in this PID namespace, whose process
is gone or whose process id belongs to a later process. A run of another boot is judged if it says nothing since this one
began: two machines may have one name, and share a root. Everything else stays as it is: runs of other machines, mirrored
ones among them, and runs that were copied here, whose `meta.json` names another root.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import apsw
import msgspec

from runicorn.plugin import (
    EVENTS_FILE,
    META_FILE,
    RUNNING,
    STATUS_FILE,
    LockTimeout,
    ProcessIdentity,
    RunLost,
    Store,
    Stream,
    Unavailable,
    file_lock,
    has_ended,
    is_inside,
    read_json_object,
    write_json,
)
from runicorn_runs.facts import Meta

logger = logging.getLogger("runicorn.runs")

_PERIOD_S = 30.0
_RETRY_S = 1.0
_ON_REQUEST_S = 5.0
_LOCK_TIMEOUT_S = 2.0


def is_gone(meta: Meta, *, seen_at: float | None = None) -> bool:
    """Whether the process that made a run, and did something last at `seen_at`, has certainly ended."""
    if meta.pid is None:
        return False
    recorded = ProcessIdentity(meta.pid, meta.pid_started_at, meta.boot_id, meta.pid_start_ticks, meta.pid_ns)
    return has_ended(recorded, host=meta.hostname, known_at=meta.created_at, seen_at=seen_at)


class Liveness:
    """Checks the running runs of a store: periodically, on request, and soon after somebody looked at them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._mutex = asyncio.Lock()
        self._last = 0.0
        self._is_closed = False
        self._task: asyncio.Task[object] | None = None

    async def check(self) -> tuple[int, int]:
        """Judge every listed run with status `running`; how many were judged, and how many were found lost."""
        async with self._mutex:
            self._last = time.monotonic()
            running = await self._store.model("runs").run(_running)
            lost = await asyncio.to_thread(self._record, running)
            await self._store.until_visible(*dict.fromkeys(lost))
            return len(running), len(lost)

    def check_soon(self) -> None:
        """Check in the background, unless that was done within the last 5 s."""
        if self._store.is_leader and time.monotonic() - self._last >= _ON_REQUEST_S:
            self._last = time.monotonic()
            self._task = asyncio.create_task(self._check_quietly(), name="liveness-on-request")

    async def run_periodically(self) -> None:
        """Check at once and then every 30 s, until cancelled."""
        while True:
            checked = await self._check_quietly()
            await asyncio.sleep(_PERIOD_S if checked else _RETRY_S)

    async def close(self) -> None:
        """End a check that is on its way; what it has recorded stays."""
        self._is_closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _check_quietly(self) -> bool:
        try:
            await self.check()
        except Unavailable as error:  # at the first start there is no read model yet
            logger.debug("the liveness of runs could not be checked: %s", error)
            return False
        except Exception:  # the next round comes; a bug must not end it
            logger.exception("the liveness of runs could not be checked")
            return False
        return True

    def _record(self, running: Sequence[tuple[str, str, Meta]]) -> list[Stream]:
        """Record the end of the runs whose process is gone; for each the stream that says so. In a thread."""
        recorded: list[Stream] = []
        for key, run_id, meta in running:
            if self._is_closed:
                break
            if is_gone(meta, seen_at=_last_sign(self._store.root / key)):
                stream = record_lost(self._store, key, run_id)
                if stream is not None:
                    recorded.append(stream)
        return recorded


@asynccontextmanager
async def watch_liveness(store: Store) -> AsyncGenerator[None]:
    """Check periodically for as long as the context is open, in the worker that does periodic work."""
    task = asyncio.create_task(store.own(Liveness).run_periodically(), name="liveness") if store.is_leader else None
    try:
        yield
    finally:
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def record_lost(store: Store, key: str, run_id: str) -> Stream | None:
    """Record that a run is lost, and write it to its `status.json`; the stream of the event.

    None if the run has ended itself meanwhile, is locked, is gone, or was made in another root. All is done under the lock
    that `finish()` takes, the event first: whoever looks at the file knows the event, and a later `finish()` has the later
    time. A file that cannot be written, or that a link puts outside of the root, stays as it is: then the event alone
    tells it.
    """
    path = store.root / key / STATUS_FILE
    if not _was_made_in(store.root, path.parent):
        return None
    try:
        if not is_inside(store.root, path.parent):
            return _record(store, key, run_id, path)
        with file_lock(f"{path}.lock", timeout_s=_LOCK_TIMEOUT_S):
            return _record(store, key, run_id, path, write=True)
    except LockTimeout:
        return None
    except OSError:  # a read-only root has no place for the lock
        return _record(store, key, run_id, path) if path.parent.is_dir() else None


def _was_made_in(root: Path, run_dir: Path) -> bool:
    """False for a run that says that it was made in another root: its process may live where that is."""
    made_in = (read_json_object(run_dir / META_FILE) or {}).get("storage_dir")
    return not isinstance(made_in, str) or not made_in or os.path.realpath(made_in) == os.path.realpath(root)


def _last_sign(run_dir: Path) -> float | None:
    """When the process of a run last wrote to its stream, in Unix seconds."""
    try:
        return os.stat(run_dir / EVENTS_FILE).st_mtime
    except OSError:
        return None


def _record(store: Store, key: str, run_id: str, path: Path, *, write: bool = False) -> Stream | None:
    status: dict[str, Any] = read_json_object(path, limit=None) or {"status": RUNNING}
    if status.get("status") != RUNNING:
        return None
    lost = RunLost(run=key, run_id=run_id, ended_at=time.time())
    stream = store.record(lost, ts=lost.ended_at)
    if write:
        try:
            write_json(
                path, {**status, "status": lost.status, "ended_at": lost.ended_at, "exit_reason": lost.exit_reason}
            )
        except OSError as error:
            logger.info("the status file of a lost run cannot be written: %s", error.strerror)
    return stream


def _running(db: apsw.Connection) -> list[tuple[str, str, Meta]]:
    rows = db.execute(
        "SELECT key, run_id, meta FROM run WHERE listed AND status = 'running' AND source IS NULL AND NOT is_foreign"
    )
    decode = msgspec.msgpack.Decoder(Meta).decode
    return [(str(key), str(run_id), decode(cast(bytes, meta))) for key, run_id, meta in rows]
