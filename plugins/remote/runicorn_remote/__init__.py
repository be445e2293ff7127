"""Runicorn's `remote` plugin: machines that are reached by SSH."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from runicorn.plugin import hookimpl

if TYPE_CHECKING:
    import click
    from litestar.types import ControllerRouterHandler


@hookimpl
def runicorn_routes() -> Sequence[ControllerRouterHandler]:
    from runicorn_remote.routes import ssh, unified

    return [
        unified.unified_connect,
        unified.unified_disconnect,
        unified.unified_status,
        unified.unified_listdir,
        unified.configure_mode,
        unified.deactivate_mode,
        ssh.ssh_connect,
        ssh.ssh_sessions,
        ssh.ssh_close,
        ssh.ssh_listdir,
        ssh.mirror_start,
        ssh.mirror_stop,
        ssh.mirror_list,
    ]


@hookimpl
def runicorn_rate_limits() -> Mapping[str, int]:
    return {
        "POST /api/unified/connect": 5,
        "POST /api/unified/configure_mode": 10,
        "GET /api/unified/status": 240,
        "GET /api/unified/listdir": 30,
        "POST /api/ssh/connect": 5,
        "GET /api/ssh/sessions": 240,
        "GET /api/ssh/mirror/list": 240,
    }


@hookimpl
def runicorn_commands() -> Sequence[click.Command]:
    from runicorn_remote.cli import remote

    return [remote]
