"""Runicorn's `system` plugin: the machine that serves, and the user's configuration of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from runicorn.plugin import Health, Store, hookimpl

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler


@hookimpl
def runicorn_routes() -> Sequence[ControllerRouterHandler]:
    from runicorn_system.routes import get_config, gpu_telemetry

    return [gpu_telemetry, get_config]


@hookimpl
def runicorn_rate_limits() -> Mapping[str, int]:
    return {"GET /api/gpu/telemetry": 240, "GET /api/config": 60}


@hookimpl
def runicorn_health(store: Store) -> Health:
    from runicorn_system.gpu import GpuMonitor

    return store.own(GpuMonitor).health()
