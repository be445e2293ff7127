"""Processors, memory and disk of this machine, for all clients of a worker: looked at once a second at most.

psutil reads `/proc` in about a millisecond; the disk of the storage root may be a network file system that does not answer,
so it is asked in a thread of its own, and left out of the answer until it does.
"""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import msgspec
import psutil

from runicorn.plugin import Store

_FRESH_S = 1.0
_FIRST_INTERVAL_S = 0.1
_DISK_S = 1.0


class Processors(msgspec.Struct, frozen=True):
    """`percent` of all processors together, since the readings before."""

    percent: float
    count: int
    load_1m: float | None
    """Processes that run or wait to run, on average over a minute."""
    load_5m: float | None
    load_15m: float | None


class Memory(msgspec.Struct, frozen=True):
    """Main memory, or swap. `available` can be had without swapping."""

    total_bytes: int
    used_bytes: int
    available_bytes: int
    percent: float


class Disk(msgspec.Struct, frozen=True):
    """The file system of the storage root. `free` is what this user may still write."""

    total_bytes: int
    used_bytes: int
    free_bytes: int
    percent: float


class HostReadings(msgspec.Struct, frozen=True):
    """What this machine did at `ts`, in Unix seconds."""

    ts: float
    cpu: Processors
    memory: Memory
    swap: Memory
    disk: Disk | None
    """Null while the file system does not answer."""


class HostMonitor:
    """The last readings of one worker, renewed when somebody asks."""

    def __init__(self, store: Store) -> None:
        self._root = store.root
        self._last: HostReadings | None = None
        self._expires = 0.0
        self._call: asyncio.Task[None] | None = None
        self._disks = ThreadPoolExecutor(1, "disk-usage")
        self._disk: Future[Disk | None] | None = None
        self._busy: tuple[float, float] | None = None

    async def read(self) -> HostReadings:
        """The readings, at most a second old."""
        if self._last is None or time.monotonic() >= self._expires:
            if self._call is None or self._call.done():
                self._call = asyncio.create_task(self._renew(), name="host-telemetry")
            await asyncio.shield(self._call)  # others wait for the same call: it outlives a client that leaves
        assert self._last is not None
        return self._last

    async def close(self) -> None:
        """End a call that is on its way."""
        if self._call is not None:
            self._call.cancel()
            await asyncio.gather(self._call, return_exceptions=True)
        self._disks.shutdown(wait=False, cancel_futures=True)

    async def _renew(self) -> None:
        if self._busy is None:
            self._busy = await asyncio.to_thread(_processor_times)
            await asyncio.sleep(_FIRST_INTERVAL_S)
        disk, (cpu, memory, swap) = await asyncio.gather(self._disk_usage(), asyncio.to_thread(self._look))
        self._last = HostReadings(time.time(), cpu, memory, swap, disk)
        self._expires = time.monotonic() + _FRESH_S

    def _look(self) -> tuple[Processors, Memory, Memory]:
        before, now = self._busy or (0.0, 0.0), _processor_times()
        self._busy = now
        busy, total = now[0] - before[0], now[1] - before[1]
        percent = min(max(100 * busy / total, 0.0), 100.0) if total > 0 else 0.0
        memory, swap = psutil.virtual_memory(), psutil.swap_memory()
        return (
            Processors(round(percent, 1), psutil.cpu_count() or 1, *_load()),
            Memory(memory.total, memory.used, memory.available, memory.percent),
            Memory(swap.total, swap.used, swap.free, swap.percent),
        )

    async def _disk_usage(self) -> Disk | None:
        if self._disk is None or self._disk.done():
            self._disk = self._disks.submit(_disk, self._root)
        try:
            return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(self._disk)), _DISK_S)
        except TimeoutError:
            return None


def _processor_times() -> tuple[float, float]:
    """Seconds that processors were busy, and all seconds, since the machine started."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # Linux counts these as `user`, too
    total = sum(times) - guests
    return total - idle, total


def _load() -> tuple[float, float, float] | tuple[None, None, None]:
    try:
        return os.getloadavg()
    except OSError:
        return None, None, None


def _disk(root: Path) -> Disk | None:
    try:
        usage = psutil.disk_usage(os.fspath(root))
    except OSError:
        return None
    return Disk(usage.total, usage.used, usage.free, usage.percent)
