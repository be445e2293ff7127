"""Runicorn's `system` plugin: the machine that serves, and the user's configuration of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from runicorn.plugin import Health, Store, hookimpl

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler


@hookimpl
def runicorn_routes() -> Sequence[ControllerRouterHandler]:
    from runicorn_system.routes import column_widths, configuration, connections, telemetry

    return [
        telemetry.gpu_telemetry,
        telemetry.system_telemetry,
        configuration.get_config,
        configuration.set_user_root_dir,
        connections.list_connections,
        connections.save_connection,
        connections.connection_details,
        connections.delete_connection,
        column_widths.get_column_widths,
        column_widths.save_column_widths,
        column_widths.reset_column_widths,
    ]


@hookimpl
def runicorn_rate_limits() -> Mapping[str, int]:
    return {
        "GET /api/gpu/telemetry": 240,
        "GET /api/system/telemetry": 240,
        "POST /api/config/user_root_dir": 10,
        "POST /api/config/ssh_connections": 20,
        "DELETE /api/config/ssh_connections/{key}": 20,
    }


@hookimpl
def runicorn_health(store: Store) -> Health:
    from runicorn_system.gpu import GpuMonitor

    return store.own(GpuMonitor).health()
