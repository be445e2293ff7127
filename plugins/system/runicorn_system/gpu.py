"""GPU telemetry for all clients of a worker: one call of `nvidia-smi` at a time, its answer good for a second."""

from __future__ import annotations

import asyncio
import time

import msgspec

from runicorn.plugin import Health, Store
from runicorn_system.nvidia_smi import FAILED, TIMED_OUT, Gpu, GpuUnavailable, NvidiaSmi

_FRESH_S = 1.0


class GpuReadings(msgspec.Struct, frozen=True):
    """What the GPUs did at `ts`, in Unix seconds. `available` is true."""

    available: bool
    ts: float
    gpus: list[Gpu]


class NoReadings(msgspec.Struct, frozen=True):
    """Why there are no readings. `available` is false."""

    available: bool
    reason: str


class GpuMonitor:
    """The last readings of one worker, renewed when somebody asks."""

    def __init__(self, store: Store | None = None) -> None:
        """`store` owns the monitor; its content is not needed."""
        self._command = NvidiaSmi()
        self._last: GpuReadings | NoReadings | None = None
        self._expires = 0.0
        self._call: asyncio.Task[None] | None = None

    async def read(self) -> GpuReadings | NoReadings:
        """The readings, at most a second old."""
        if self._last is None or time.monotonic() >= self._expires:
            if self._call is None or self._call.done():
                self._call = asyncio.create_task(self._renew(), name="gpu-telemetry")
            await asyncio.shield(self._call)  # others wait for the same call: it outlives a client that leaves
        assert self._last is not None
        return self._last

    def health(self) -> Health:
        """From the last readings; a machine without GPUs is healthy."""
        if not isinstance(self._last, NoReadings):
            return Health("ok")
        is_trouble = self._last.reason in (FAILED, TIMED_OUT)
        return Health("degraded" if is_trouble else "ok", f"GPU telemetry: {self._last.reason}")

    async def close(self) -> None:
        """End a call that is on its way."""
        if self._call is not None:
            self._call.cancel()
            await asyncio.gather(self._call, return_exceptions=True)

    async def _renew(self) -> None:
        try:
            gpus = await self._command.read()
        except GpuUnavailable as error:
            self._last = NoReadings(False, str(error))
        else:
            self._last = GpuReadings(True, time.time(), gpus)
        self._expires = time.monotonic() + _FRESH_S
