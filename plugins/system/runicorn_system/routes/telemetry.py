"""`GET /api/gpu/telemetry`, `GET /api/system/telemetry`."""

from __future__ import annotations

from litestar import get

from runicorn.plugin import Store
from runicorn_system.gpu import GpuMonitor, GpuReadings, NoReadings
from runicorn_system.host import HostMonitor, HostReadings


@get("/api/gpu/telemetry", operation_id="gpu_telemetry")
async def gpu_telemetry(store: Store) -> GpuReadings | NoReadings:
    """What the GPUs of this machine are doing, at most a second old."""
    return await store.own(GpuMonitor).read()


@get("/api/system/telemetry", operation_id="system_telemetry")
async def system_telemetry(store: Store) -> HostReadings:
    """What processors, memory and the disk of the storage root are doing, at most a second old."""
    return await store.own(HostMonitor).read()
