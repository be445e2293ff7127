"""`/api/remote/…`: the runs and artifacts of a server, looked at without copying them."""

from __future__ import annotations

import asyncio
import re
from typing import Literal

import msgspec
from litestar import get, post
from litestar.params import JSONBody

from runicorn.plugin import BadInput, Serving, Store, shown
from runicorn_remote.connection import Connection
from runicorn_remote.errors import RemoteError
from runicorn_remote.listing import resolve_directory
from runicorn_remote.mirror.source import RemoteSource
from runicorn_remote.paths import absolute_path
from runicorn_remote.remote import Remote
from runicorn_remote.requests import ConnectRequest
from runicorn_remote.routes.unified import MAX_SYNC_MINUTES, FirstSeenKey, NotConnected
from runicorn_remote.saved_secrets import with_saved_secrets
from runicorn_remote.smart.adapter import Adapter, Stats
from runicorn_remote.smart.mode import Mode
from runicorn_remote.smart.offline import has_cache
from runicorn_remote.smart.sync import SyncProgress
from runicorn_remote.structure import Structure, structure_of

_VERIFY_S = 5.0
_NUMBER = re.compile(r"-?[0-9]{1,20}")
_NOT_CONNECTED = "Not connected to remote server"


class InvalidConfiguration(BadInput):
    """A request to connect that cannot work."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"Invalid configuration: {reason}")


class RemoteRequest(ConnectRequest, kw_only=True):
    """What `POST /api/remote/connect` takes."""

    remote_root: str | None = None
    auto_sync: bool | None = True
    sync_interval_minutes: int | None = 10

    def __repr__(self) -> str:
        return "RemoteRequest(…)"

    def check(self) -> None:
        """InvalidConfiguration for what is missing or out of bounds, BadPath for a root that cannot be one."""
        if not self.saved_key:
            if not (self.host or "").strip():
                raise InvalidConfiguration("Host is required")
            if not (self.username or "").strip():
                raise InvalidConfiguration("Username is required")
        try:
            self.port_number()
        except BadInput as error:
            given = str(self.port)  # not shown if it is something else: fields may have been mixed up
            reason = given if _NUMBER.fullmatch(given) else "must be between 1 and 65535"
            raise InvalidConfiguration(f"Invalid port: {reason}") from error
        if not (self.remote_root or "").strip():
            raise InvalidConfiguration("Remote root directory is required")
        absolute_path(self.remote_root or "", "/")
        secrets = (self.password, self.private_key, self.pkey, self.private_key_path, self.pkey_path, self.saved_key)
        if not any(secrets) and self.use_agent is False:
            raise InvalidConfiguration("At least one authentication method is required")
        if not 1 <= self.minutes <= MAX_SYNC_MINUTES:
            raise InvalidConfiguration(f"sync_interval_minutes must be between 1 and {MAX_SYNC_MINUTES}")

    @property
    def minutes(self) -> int:
        """Between two syncs."""
        return 10 if self.sync_interval_minutes is None else self.sync_interval_minutes


class RemoteConnected(msgspec.Struct, frozen=True):
    """The answer of `POST /api/remote/connect`."""

    ok: bool
    status: str
    host: str
    port: int
    username: str
    connection_id: str
    remote_root: str
    cache_dir: str
    structure_verified: Structure
    auto_sync: bool
    sync_interval_minutes: int
    host_key: FirstSeenKey


class RemoteDisconnected(msgspec.Struct, frozen=True):
    """The answer of `POST /api/remote/disconnect`."""

    ok: bool
    status: str
    message: str


class RemoteStatus(msgspec.Struct, frozen=True):
    """The answer of `GET /api/remote/status`; from memory."""

    mode: Mode
    connected: bool
    status: Literal["disconnected", "connecting", "connected", "syncing", "error"]
    sync_progress: SyncProgress | None
    stats: Stats | None


class SyncStarted(msgspec.Struct, frozen=True):
    """The answer of `POST /api/remote/sync`."""

    ok: bool
    message: str
    info: str
    started: bool


class RemoteMode(msgspec.Struct, frozen=True):
    """The answer of `GET /api/remote/mode`."""

    mode: Mode
    remote_available: bool
    remote_connected: bool


class ModeChoice(msgspec.Struct, kw_only=True):
    """What `POST /api/remote/mode/switch` takes."""

    mode: str


class ModeSwitched(msgspec.Struct, frozen=True):
    """The answer of `POST /api/remote/mode/switch`."""

    ok: bool
    mode: str
    message: str


class Verified(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer of `GET /api/remote/verify`."""

    connected: bool
    structure: Structure | None = None
    adapter_status: str | None = None
    error: str | None = None


class CacheCleared(msgspec.Struct, frozen=True):
    """The answer of `POST /api/remote/cache/clear`."""

    ok: bool
    message: str


class CacheCleaned(msgspec.Struct, frozen=True):
    """The answer of `POST /api/remote/cache/cleanup`."""

    ok: bool
    files_removed: int
    bytes_freed: int
    message: str


@post("/api/remote/connect", status_code=200, operation_id="remote_connect")
async def remote_connect(data: JSONBody[RemoteRequest], serving: Serving, store: Store) -> RemoteConnected:
    """Connect, and show the runs of a remote root among those that are here. The unified connection stays what it is."""
    data.check()
    remote = serving.own(Remote)
    remote.smart.bind(store)
    filled = await remote.run(with_saved_secrets, data, serving.connections)
    target, credentials = filled.target(), filled.credentials()
    policy = await remote.run(filled.policy)
    login = await remote.run(remote.log_in, target, credentials, policy)
    connection = login.connection
    token = object()
    remote.registry.hold(connection, token)
    try:
        source, structure = await remote.run(_look, connection, data.remote_root or "")
        auto_sync = data.auto_sync is not False
        await remote.run(
            remote.smart.begin, connection, source, auto_sync=auto_sync, minutes=data.minutes, sync_now=auto_sync
        )
    finally:
        await remote.run(remote.registry.release, connection, token)
    adapter = adapter_of(remote)
    return RemoteConnected(
        ok=True,
        status="connected",
        host=target.host,
        port=target.port,
        username=target.username,
        connection_id=connection.connection_id,
        remote_root=source.root,
        cache_dir=str(adapter.cache.directory),
        structure_verified=structure,
        auto_sync=auto_sync,
        sync_interval_minutes=data.minutes,
        host_key=FirstSeenKey.of(login.host_key, login.first_use),
    )


@post("/api/remote/disconnect", status_code=200, operation_id="remote_disconnect")
async def remote_disconnect(serving: Serving, store: Store) -> RemoteDisconnected:
    """End smart mode. The cache stays."""
    remote = serving.own(Remote)
    adapter_of(remote)
    remote.smart.bind(store)
    await remote.run(remote.smart.end)
    return RemoteDisconnected(True, "disconnected", "Disconnected from remote server")


@get("/api/remote/status", operation_id="remote_status", sync_to_thread=False)
def remote_status(serving: Serving) -> RemoteStatus:
    """What smart mode is doing, from memory."""
    smart = serving.own(Remote).smart
    adapter = smart.adapter
    if adapter is not None:
        return RemoteStatus(smart.mode, adapter.connection.is_alive, adapter.status, adapter.progress, adapter.stats())
    return RemoteStatus(smart.mode, False, "disconnected", None, smart.stats)


@post("/api/remote/sync", status_code=200, operation_id="remote_sync")
async def remote_sync(serving: Serving) -> SyncStarted:
    """Have the metadata brought up to date now."""
    adapter = connected_adapter(serving.own(Remote))
    started = adapter.request_sync()
    message = "Metadata sync started" if started else "Metadata sync already running"
    return SyncStarted(True, message, "Poll /api/remote/status to track progress", started)


@get("/api/remote/mode", operation_id="remote_mode")
async def remote_mode(serving: Serving) -> RemoteMode:
    """Whether remote runs are shown, and whether they could be."""
    remote = serving.own(Remote)
    smart = remote.smart
    is_available = smart.cache is not None or await remote.run(has_cache)
    return RemoteMode(smart.mode, is_available, smart.adapter is not None and smart.adapter.connection.is_alive)


@post("/api/remote/mode/switch", status_code=200, operation_id="switch_remote_mode")
async def switch_mode(data: JSONBody[ModeChoice], serving: Serving, store: Store) -> ModeSwitched:
    """Show remote runs, or do not. Without a connection the cache that was synced last is shown."""
    if data.mode != "local" and data.mode != "remote":
        raise BadInput(f"Invalid mode: {shown(data.mode)}. Must be 'local' or 'remote'")
    remote = serving.own(Remote)
    remote.smart.bind(store)
    await remote.run(remote.smart.switch, data.mode)
    return ModeSwitched(True, data.mode, f"Switched to {data.mode} storage mode")


@get("/api/remote/verify", operation_id="verify_remote")
async def verify_remote(serving: Serving) -> Verified:
    """Ask the server, by a real round trip."""
    remote = serving.own(Remote)
    adapter = remote.smart.adapter
    if adapter is None or not adapter.connection.is_alive:
        return Verified(False, error=_NOT_CONNECTED)
    try:
        looking = remote.run(_look, adapter.connection, adapter.source.root)
        _, structure = await asyncio.wait_for(looking, _VERIFY_S)
    except (TimeoutError, RemoteError):
        return Verified(False, error=_NOT_CONNECTED)
    return Verified(True, structure, adapter.status)


@post("/api/remote/cache/clear", status_code=200, operation_id="clear_remote_cache")
async def clear_cache(serving: Serving) -> CacheCleared:
    """Forget what is cached of the connected root; a running sync is stopped first."""
    remote = serving.own(Remote)
    await remote.run(remote.smart.clear_cache, adapter_of(remote))
    return CacheCleared(True, "Cache cleared successfully")


@post("/api/remote/cache/cleanup", status_code=200, operation_id="clean_up_remote_cache")
async def clean_up_cache(serving: Serving) -> CacheCleaned:
    """Remove downloads, events and logs, least recently used first, until the cache has at most 10 GiB."""
    remote = serving.own(Remote)
    if remote.smart.cache is None:
        raise NotConnected(_NOT_CONNECTED)
    cleaned = await remote.run(remote.smart.clean_up)
    message = f"Cleaned up {cleaned.files_removed} old files"
    return CacheCleaned(True, cleaned.files_removed, cleaned.bytes_freed, message)


def adapter_of(remote: Remote) -> Adapter:
    """The active smart mode. NotConnected if there is none."""
    if remote.smart.adapter is None:
        raise NotConnected(_NOT_CONNECTED)
    return remote.smart.adapter


def connected_adapter(remote: Remote) -> Adapter:
    """The active smart mode, with a connection. NotConnected if there is none, or the connection is lost."""
    adapter = adapter_of(remote)
    if not adapter.connection.is_alive:
        raise NotConnected("Remote connection is not active")
    return adapter


def _look(connection: Connection, path: str) -> tuple[RemoteSource, Structure]:
    with connection.shared_sftp() as sftp:
        root = resolve_directory(sftp, path)
        return RemoteSource(connection.target, root), structure_of(sftp, root)
