"""`/api/unified/…`: the connection of the web page, and the modes on it."""

from __future__ import annotations

import math
from typing import Any, cast

import msgspec
from litestar import Request, get, post
from litestar.params import FromQuery, JSONBody

from runicorn.plugin import BadInput, Serving, Store, parse_json, shown
from runicorn_remote.connection import Connection
from runicorn_remote.errors import HostKey, RemoteError
from runicorn_remote.listing import Directory, list_directory, resolve_directory
from runicorn_remote.mirror.progress import MirrorReport
from runicorn_remote.mirror.source import RemoteSource
from runicorn_remote.mirrors import DEFAULT_INTERVAL_S, MAX_INTERVAL_S
from runicorn_remote.remote import Remote
from runicorn_remote.requests import ConnectRequest
from runicorn_remote.saved_secrets import with_saved_secrets
from runicorn_remote.smart.adapter import Adapter
from runicorn_remote.smart.cache import CacheTotals

MAX_SYNC_MINUTES = 1440


class NotConnected(RemoteError):
    """There is no connection, or a dead one."""

    status, code = 400, "not_connected"

    def __init__(self, text: str = "No active SSH connection. Please connect first.") -> None:
        super().__init__(text)


class FirstSeenKey(msgspec.Struct, frozen=True):
    """The server's key, and whether this login was the first use of the host."""

    type: str
    sha256: str
    first_use: bool

    @classmethod
    def of(cls, key: HostKey, first_use: bool) -> FirstSeenKey:
        """From a login."""
        return cls(key.type, key.sha256, first_use)


class UnifiedConnected(msgspec.Struct, frozen=True):
    """The answer of `POST /api/unified/connect`."""

    ok: bool
    status: str
    message: str
    connection_id: str
    host: str
    port: int
    username: str
    connected: bool
    connected_at: float
    reference_count: int
    reused: bool
    host_key: FirstSeenKey


class Disconnected(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer of `POST /api/unified/disconnect`."""

    ok: bool
    message: str
    smart_active: bool | None = None
    mirror_active: bool | None = None


class ModeRequest(msgspec.Struct, kw_only=True):
    """What `POST /api/unified/configure_mode` takes."""

    mode: str
    remote_root: str | None = None
    auto_sync: bool | None = True
    sync_interval_minutes: int | None = 5
    mirror_interval: float | None = DEFAULT_INTERVAL_S


class MirrorConfigured(msgspec.Struct, frozen=True):
    """The answer of `configure_mode` for mirror mode."""

    ok: bool
    mode: str
    mirror_interval: float
    message: str
    remote_root: str | None
    config: dict[str, Any]
    task: MirrorReport | None


class SmartSettings(msgspec.Struct, frozen=True):
    """How smart mode is set."""

    remote_root: str
    auto_sync: bool
    sync_interval_minutes: int


class SmartConfigured(msgspec.Struct, frozen=True):
    """The answer of `configure_mode` for smart mode."""

    ok: bool
    mode: str
    remote_root: str
    message: str
    config: SmartSettings


class ModeOnly(msgspec.Struct, kw_only=True):
    """What `POST /api/unified/deactivate_mode` takes."""

    mode: str


class Deactivated(msgspec.Struct, frozen=True):
    """The answer of `POST /api/unified/deactivate_mode`."""

    ok: bool
    mode: str
    message: str


@post("/api/unified/connect", status_code=200, operation_id="unified_connect")
async def unified_connect(data: JSONBody[ConnectRequest], serving: Serving) -> UnifiedConnected:
    """Connect, and make this the current connection. The credentials are tried also if there is one already."""
    remote = serving.own(Remote)
    data = await remote.run(with_saved_secrets, data, serving.connections)
    target, credentials = data.target(), data.credentials()
    policy = await remote.run(data.policy)
    login = await remote.run(remote.log_in, target, credentials, policy)
    connection = login.connection
    await remote.run(remote.registry.make_current, connection)
    return UnifiedConnected(
        ok=True,
        status="connected",
        message=f"Successfully connected to {target.host}",
        connection_id=connection.connection_id,
        host=target.host,
        port=target.port,
        username=target.username,
        connected=True,
        connected_at=connection.connected_at,
        reference_count=len(connection.holders),
        reused=login.reused,
        host_key=FirstSeenKey.of(login.host_key, login.first_use),
    )


@post("/api/unified/disconnect", status_code=200, operation_id="unified_disconnect")
async def unified_disconnect(serving: Serving, store: Store, request: Request[Any, Any, Any]) -> Disconnected:
    """Leave the current connection. With `{"force": true}`, modes that use it are stopped first; the body is optional."""
    force = _force(await request.body())
    remote = serving.own(Remote)
    connection = remote.registry.current
    if connection is None:
        return Disconnected(True, "No active connection")
    if connection.holders:
        if not force:
            return Disconnected(
                False,
                "Connection is in use by active modes",
                _smart_on(remote, connection) is not None,
                any(not task.has_ended for task in remote.mirrors.tasks(connection)),
            )
        if _smart_on(remote, connection) is not None:
            remote.smart.bind(store)
            await remote.run(remote.smart.end)
        await remote.run(remote.mirrors.stop_all, connection)
    await remote.run(remote.registry.leave_current)
    return Disconnected(True, "Disconnected successfully")


@get("/api/unified/status", operation_id="unified_status", sync_to_thread=False)
def unified_status(serving: Serving) -> dict[str, Any]:
    """What is connected and which modes are active, from memory. Its shape never changes with the mode."""
    remote = serving.own(Remote)
    connection = remote.registry.current
    tasks = remote.mirrors.tasks(connection) if connection is not None else []
    current = [task for task in tasks if not task.has_ended]
    youngest = current[-1].report() if current else None
    mirror_mode: dict[str, Any] = {"active": False}
    if youngest is not None:
        mirror_mode = {
            "active": True,
            "remote_root": youngest.remote_root,
            "mirror_interval": youngest.interval,
        }
    smart = None if connection is None else _smart_on(remote, connection)
    smart_mode: dict[str, Any] = {"active": False} if connection is None else {"active": False, "remote_root": None}
    if smart is not None:
        smart_mode = {
            "active": True,
            "remote_root": smart.source.root,
            "auto_sync": smart.auto_sync,
            "sync_interval_minutes": smart.interval_minutes,
            "last_sync_at": smart.cache.last_sync,
            "next_sync_at": smart.next_sync_at,
        }
    brief = {name: value for name, value in smart_mode.items() if name in ("active", "remote_root")}
    totals = CacheTotals() if smart is None else smart.cache.totals
    modes = {
        "smart": brief,
        "mirror": {"active": bool(current), "tasks": remote.mirrors.reports()},
    }
    rest = {
        "smart_mode": smart_mode,
        "mirror_mode": mirror_mode,
        "cached_experiments": totals.runs,
        "cached_artifacts": totals.versions,
    }
    if connection is None:
        return {
            "connected": False,
            "connection_id": None,
            "modes": modes,
            "connection": {"connected": False},
            **rest,
        }
    target, is_alive = connection.target, connection.is_alive
    address = {"host": target.host, "port": target.port, "username": target.username}
    return {
        "connected": is_alive,
        "connection_id": connection.connection_id,
        **address,
        "connected_at": connection.connected_at,
        "reference_count": len(connection.holders),
        "last_error": connection.last_error,
        "modes": modes,
        "connection": {"connected": is_alive, **address, "uptime_seconds": connection.uptime_s},
        **rest,
    }


@get("/api/unified/listdir", operation_id="unified_listdir")
async def unified_listdir(
    serving: Serving, path: FromQuery[str] = "~", show_hidden: FromQuery[bool] = False
) -> Directory:
    """What is in a directory of the connected machine; `~` is where SFTP starts."""
    remote = serving.own(Remote)
    connection = remote.registry.current
    if connection is None or not connection.is_alive:
        raise NotConnected
    return await remote.run(_list, connection, path, show_hidden)


@post("/api/unified/configure_mode", status_code=200, operation_id="unified_configure_mode")
async def configure_mode(
    data: JSONBody[ModeRequest], serving: Serving, store: Store
) -> MirrorConfigured | SmartConfigured:
    """Begin a mode on the current connection, or change its settings."""
    minutes = 5 if data.sync_interval_minutes is None else data.sync_interval_minutes
    if data.mode == "smart" and not 1 <= minutes <= MAX_SYNC_MINUTES:
        raise BadInput(f"Invalid value for sync_interval_minutes: must be between 1 and {MAX_SYNC_MINUTES}")
    remote = serving.own(Remote)
    connection = remote.registry.current
    if connection is None or not connection.is_alive:
        raise NotConnected("No active SSH connection")
    if data.mode == "smart":
        remote.smart.bind(store)
        return await _configure_smart(remote, connection, data, minutes)
    if data.mode != "mirror":
        raise BadInput(f"Unknown mode: {shown(data.mode)}")
    interval_s = interval_of(data.mirror_interval)
    task = None
    if data.remote_root:
        root = data.remote_root
        task = await remote.run(remote.mirrors.start, connection, connection.connection_id, root, store, interval_s)
    else:
        remote.mirrors.interval_s = interval_s
    report = None if task is None else task.report()
    root = None if report is None else report.remote_root
    return MirrorConfigured(
        ok=True,
        mode="mirror",
        mirror_interval=interval_s,
        message="Mirror mode configured successfully",
        remote_root=root,
        config={"remote_root": root, "mirror_interval": interval_s},
        task=report,
    )


@post("/api/unified/deactivate_mode", status_code=200, operation_id="unified_deactivate_mode")
async def deactivate_mode(data: JSONBody[ModeOnly], serving: Serving, store: Store) -> Deactivated:
    """End a mode; the connection stays."""
    remote = serving.own(Remote)
    if data.mode == "smart":
        if remote.smart.adapter is not None:
            remote.smart.bind(store)
            await remote.run(remote.smart.end)
        return Deactivated(True, "smart", "Smart mode deactivated")
    if data.mode != "mirror":
        raise BadInput(f"Unknown mode: {shown(data.mode)}")
    connection = remote.registry.current
    if connection is not None:
        await remote.run(remote.mirrors.stop_all, connection)
    return Deactivated(True, "mirror", "Mirror mode deactivated")


async def _configure_smart(remote: Remote, connection: Connection, data: ModeRequest, minutes: int) -> SmartConfigured:
    if not (data.remote_root or "").strip():
        raise BadInput("remote_root is required for smart mode")
    auto_sync = data.auto_sync is not False
    root = await remote.run(_resolve, connection, data.remote_root or "")
    source = RemoteSource(connection.target, root)
    await remote.run(remote.smart.begin, connection, source, auto_sync=auto_sync, minutes=minutes, sync_now=True)
    settings = SmartSettings(root, auto_sync, minutes)
    return SmartConfigured(True, "smart", root, "Smart mode configured successfully", settings)


def _smart_on(remote: Remote, connection: Connection) -> Adapter | None:
    """The smart mode on a connection."""
    adapter = remote.smart.adapter
    return adapter if adapter is not None and adapter.connection is connection else None


def _resolve(connection: Connection, path: str) -> str:
    with connection.shared_sftp() as sftp:
        return resolve_directory(sftp, path)


def _force(body: bytes) -> bool:
    """Whether a body asks for it; there may be none. BadInput if it is something else than an object."""
    try:
        content = parse_json(body) if body.strip() else {}
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise BadInput("Request body must be a JSON object")
    return cast(dict[str, object], content).get("force") is True


def interval_of(value: float | None) -> float:
    """Seconds between looks: null and 0 mean the default, small ones are raised."""
    if not value:
        return DEFAULT_INTERVAL_S
    if not math.isfinite(value) or value > MAX_INTERVAL_S or value < 0:
        raise BadInput(f"Invalid value for mirror_interval: must be a number up to {MAX_INTERVAL_S:g}")
    return max(0.5, value)


def _list(connection: Connection, path: str, show_hidden: bool) -> Directory:
    with connection.shared_sftp() as sftp:
        return list_directory(sftp, path, show_hidden=show_hidden)
