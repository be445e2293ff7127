"""Runs whose process is gone: found, told to the log, and written to `status.json` for 0.4.0 readers.

Only what can be known is judged: a run of this machine, of this boot and PID namespace, whose process is gone or whose
process id belongs to a later process. Everything else stays as it is.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import apsw
import msgspec
import psutil

from runicorn.plugin import (
    RUNNING,
    STATUS_FILE,
    LockTimeout,
    Store,
    Unavailable,
    boot_id,
    file_lock,
    host_name,
    pid_namespace,
    read_json_object,
    start_ticks,
    write_json,
)
from runicorn_runs.events import RunLost
from runicorn_runs.facts import Meta

logger = logging.getLogger("runicorn.runs")

_PERIOD_S = 30.0
_RETRY_S = 1.0
_ON_REQUEST_S = 5.0
_LOCK_TIMEOUT_S = 2.0
_CLOCK_MARGIN_S = 60.0  # clocks are set while a training runs; kernel start times in ticks need no margin


class Machine(msgspec.Struct, frozen=True):
    """This machine, as far as runs can have recorded it."""

    hostname: str
    boot_id: str | None
    pid_ns: int | None

    @classmethod
    def this(cls) -> Machine:
        """Read from the operating system; unknown parts are None."""
        return cls(host_name(), boot_id(), pid_namespace())


def is_gone(meta: Meta, machine: Machine) -> bool:
    """Whether the process that made a run has certainly ended."""
    if meta.pid is None or not 0 < meta.pid < 1 << 31:
        return False
    if meta.hostname is not None and meta.hostname != machine.hostname:
        return False
    if meta.boot_id is not None and machine.boot_id is not None and meta.boot_id != machine.boot_id:
        return True
    if meta.pid_ns is not None and machine.pid_ns is not None and meta.pid_ns != machine.pid_ns:
        return False
    try:
        process = psutil.Process(meta.pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return True
        return _is_another(process, meta)
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:  # not allowed to look: it lives
        return False


def _is_another(process: psutil.Process, meta: Meta) -> bool:
    """Whether the process id was given to a later process."""
    ticks = start_ticks(process.pid)
    if meta.pid_start_ticks is not None and ticks is not None:
        return ticks != meta.pid_start_ticks
    started = process.create_time()
    if meta.pid_started_at is not None:
        return abs(started - meta.pid_started_at) > _CLOCK_MARGIN_S
    return meta.created_at is not None and started > meta.created_at + _CLOCK_MARGIN_S


class Liveness:
    """Checks the running runs of a store: periodically, on request, and soon after somebody looked at them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._machine = Machine.this()
        self._mutex = asyncio.Lock()
        self._last = 0.0
        self._task: asyncio.Task[object] | None = None

    async def check(self) -> tuple[int, int]:
        """Judge every listed run with status `running`; how many were judged, and how many were found lost."""
        async with self._mutex:
            self._last = time.monotonic()
            running = await self._store.model("runs").run(_running)
            lost = await asyncio.to_thread(self._record, running)
            if lost:
                await self._store.append(*lost)
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
        """Wait for a check that is on its way."""
        if self._task is not None:
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

    def _record(self, running: Sequence[tuple[str, str, Meta]]) -> list[RunLost]:
        lost: list[RunLost] = []
        for key, run_id, meta in running:
            if is_gone(meta, self._machine):
                event = RunLost(run=key, run_id=run_id, ended_at=time.time())
                if mark_lost(self._store.root / key, event):
                    lost.append(event)
        return lost


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


def mark_lost(directory: Path, event: RunLost) -> bool:
    """Write the end of a lost run to its `status.json`; False if the run has ended itself meanwhile, or is locked.

    Under the lock that `finish()` takes, and re-read there: a `finish()` that lands in between always wins.
    """
    path = directory / STATUS_FILE
    try:
        with file_lock(f"{path}.lock", timeout_s=_LOCK_TIMEOUT_S):
            status: dict[str, Any] = read_json_object(path) or {"status": RUNNING}
            if status.get("status") != RUNNING:
                return False
            write_json(
                path, {**status, "status": event.status, "ended_at": event.ended_at, "exit_reason": event.exit_reason}
            )
    except LockTimeout:
        return False
    except OSError as error:
        # A read-only root: the event alone has to tell it.
        logger.info("the status file of a lost run cannot be written: %s", error.strerror)
        return directory.is_dir()
    return True


def _running(db: apsw.Connection) -> list[tuple[str, str, Meta]]:
    rows = db.execute("SELECT key, run_id, meta FROM run WHERE listed AND status = 'running'")
    decode = msgspec.msgpack.Decoder(Meta).decode
    return [(str(key), str(run_id), decode(cast(bytes, meta))) for key, run_id, meta in rows]
