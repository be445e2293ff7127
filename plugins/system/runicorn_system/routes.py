"""`GET /api/gpu/telemetry`, `GET /api/config`."""

from __future__ import annotations

import msgspec
from litestar import get

from runicorn.plugin import API_VERSION, Store, config_file, configured_root
from runicorn_system.gpu import GpuMonitor, GpuReadings, NoReadings


class Configuration(msgspec.Struct, frozen=True):
    """Where things are."""

    user_root_dir: str
    """The root that the user has configured; empty if none."""
    storage: str
    """The root in use, whatever chose it."""
    config_file: str
    """Given whether or not the file exists."""
    version: str
    """Of the API."""


@get("/api/gpu/telemetry", operation_id="gpu_telemetry")
async def gpu_telemetry(store: Store) -> GpuReadings | NoReadings:
    """What the GPUs of this machine are doing, at most a second old."""
    return await store.own(GpuMonitor).read()


@get("/api/config", operation_id="get_config", sync_to_thread=True)
def get_config(store: Store) -> Configuration:
    """The configuration in use."""
    return Configuration(configured_root(), str(store.root), str(config_file()), API_VERSION)
