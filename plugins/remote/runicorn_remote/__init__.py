"""Runicorn's `remote` plugin: machines that are reached by SSH."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from runicorn.plugin import Payload, Store, hookimpl

if TYPE_CHECKING:
    import click
    from litestar.types import ControllerRouterHandler


@hookimpl
def runicorn_event_types() -> Sequence[type[Payload]]:
    from runicorn_remote.events import EVENTS

    return EVENTS


@hookimpl
def runicorn_routes() -> Sequence[ControllerRouterHandler]:
    from runicorn_remote.routes import downloads, labels, remote, ssh, unified

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
        remote.remote_connect,
        remote.remote_disconnect,
        remote.remote_status,
        remote.remote_sync,
        remote.remote_mode,
        remote.switch_mode,
        remote.verify_remote,
        remote.clear_cache,
        remote.clean_up_cache,
        downloads.start_download,
        downloads.download_status,
        downloads.list_downloads,
        downloads.cancel_download,
        labels.set_remote_alias,
        labels.add_remote_tags,
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
        "POST /api/remote/connect": 5,
        "GET /api/remote/status": 240,
        "POST /api/remote/sync": 20,
        "GET /api/remote/mode": 240,
        "POST /api/remote/download/{artifact_name}/{version}": 30,
        "GET /api/remote/download/{task_id}/status": 240,
        "GET /api/remote/downloads": 240,
    }


@hookimpl
def runicorn_lifespan(store: Store) -> AbstractAsyncContextManager[None]:
    from runicorn_remote.lifespan import nothing_attached

    return nothing_attached(store)


@hookimpl
def runicorn_commands() -> Sequence[click.Command]:
    from runicorn_remote.cli import remote

    return [remote]
