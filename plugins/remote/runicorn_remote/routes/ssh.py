"""`/api/ssh/…`: the older API of sessions and mirrors."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec
from litestar import get, post
from litestar.params import FromQuery, JSONBody

from runicorn.plugin import BadInput, RunicornError, Serving, Store
from runicorn_remote.connection import Connection
from runicorn_remote.errors import (
    BadPath,
    ConnectFailed,
    NotADirectory,
    PermissionDenied,
    RemotePathNotFound,
)
from runicorn_remote.listing import Directory, legacy_order, list_directory
from runicorn_remote.mirror.progress import MirrorReport
from runicorn_remote.remote import Remote
from runicorn_remote.requests import ConnectRequest
from runicorn_remote.routes.unified import FirstSeenKey, NotConnected
from runicorn_remote.saved_secrets import with_saved_secrets

_CONNECT_PREFIX = "SSH connect failed: "
_MIRROR_PREFIX = "Mirror start failed: "


class LegacyConnectFailed(RunicornError):
    """A failed connection, in the words of this API."""

    def __init__(self, failure: ConnectFailed) -> None:
        super().__init__(_CONNECT_PREFIX + failure.reason)
        self.status = failure.status
        self.code = failure.code
        self._failure = failure

    @property
    def extra(self) -> Mapping[str, object]:
        """The same as of the failure."""
        return self._failure.extra


class MirrorStartFailed(BadInput):
    """A mirror that cannot begin."""

    def __init__(self, reason: str) -> None:
        super().__init__(_MIRROR_PREFIX + reason)


class SessionOpened(msgspec.Struct, frozen=True):
    """The answer of `POST /api/ssh/connect`."""

    ok: bool
    session_id: str
    host_key: FirstSeenKey


class SessionItem(msgspec.Struct, frozen=True):
    """A session; dead ones stay until they are closed."""

    session_id: str = msgspec.field(name="id")
    host: str
    port: int
    username: str
    connected: bool
    connected_at: float


class Sessions(msgspec.Struct, frozen=True):
    """The answer of `GET /api/ssh/sessions`."""

    sessions: list[SessionItem]


class Done(msgspec.Struct, frozen=True):
    """Whether there was something to do."""

    ok: bool


class SessionOnly(msgspec.Struct, kw_only=True):
    """What `POST /api/ssh/close` takes."""

    session_id: str = ""


class MirrorRequest(msgspec.Struct, kw_only=True):
    """What `POST /api/ssh/mirror/start` takes. `session_id` may be the id of a unified connection, too."""

    session_id: str = ""
    remote_root: str = ""
    interval: float | str | None = 2.0


class MirrorStarted(msgspec.Struct, frozen=True):
    """The answer of `POST /api/ssh/mirror/start`."""

    ok: bool
    task: MirrorReport


class TaskOnly(msgspec.Struct, kw_only=True):
    """What `POST /api/ssh/mirror/stop` takes."""

    task_id: str = ""


class MirrorList(msgspec.Struct, frozen=True):
    """The answer of `GET /api/ssh/mirror/list`."""

    mirrors: list[MirrorReport]
    storage: str


@post("/api/ssh/connect", status_code=200, operation_id="ssh_connect")
async def ssh_connect(data: JSONBody[ConnectRequest], serving: Serving) -> SessionOpened:
    """Open another connection."""
    remote = serving.own(Remote)
    if not data.saved_key and (not (data.host or "").strip() or not (data.username or "").strip()):
        raise BadInput("host and username are required")
    data = await remote.run(with_saved_secrets, data, serving.connections)
    target, credentials = data.target(), data.credentials()
    policy = await remote.run(data.policy)
    try:
        session = await remote.run(remote.open_session, target, credentials, policy)
    except ConnectFailed as failure:
        raise LegacyConnectFailed(failure) from failure
    made = session.connection.established
    return SessionOpened(True, session.session_id, FirstSeenKey.of(made.host_key, made.first_use))


@get("/api/ssh/sessions", operation_id="ssh_sessions", sync_to_thread=False)
def ssh_sessions(serving: Serving) -> Sessions:
    """The sessions that were opened and not closed."""
    found = serving.own(Remote).registry.sessions()
    return Sessions(
        [
            SessionItem(
                session.session_id,
                session.connection.target.host,
                session.connection.target.port,
                session.connection.target.username,
                session.connection.is_alive,
                session.connected_at,
            )
            for session in found
        ]
    )


@post("/api/ssh/close", status_code=200, operation_id="ssh_close")
async def ssh_close(data: JSONBody[SessionOnly], serving: Serving) -> Done:
    """Close a session; mirrors on it are stopped first."""
    remote = serving.own(Remote)
    if not data.session_id:
        raise BadInput("session_id required")
    connection = remote.registry.session_connection(data.session_id)
    if connection is None:
        return Done(False)
    await remote.run(remote.mirrors.stop_all, connection)
    return Done(await remote.run(remote.registry.close_session, data.session_id) is not None)


@get("/api/ssh/listdir", operation_id="ssh_listdir")
async def ssh_listdir(serving: Serving, session_id: FromQuery[str], path: FromQuery[str] = "~") -> Directory:
    """What is in a directory: directories first, hidden entries shown."""
    remote = serving.own(Remote)
    connection = remote.registry.session_connection(session_id)
    if connection is None or not connection.is_alive:
        raise NotConnected("session not connected")
    return await remote.run(_list, connection, path)


@post("/api/ssh/mirror/start", status_code=200, operation_id="ssh_mirror_start")
async def mirror_start(data: JSONBody[MirrorRequest], serving: Serving, store: Store) -> MirrorStarted:
    """Follow a remote storage root; the task that does so already is returned."""
    remote = serving.own(Remote)
    if not data.session_id or not data.remote_root.strip():
        raise BadInput("session_id and remote_root are required")
    interval_s = _interval(data.interval)
    connection = remote.registry.find(data.session_id)
    if connection is None:
        raise MirrorStartFailed("session not found")
    try:
        task = await remote.run(remote.mirrors.start, connection, data.session_id, data.remote_root, store, interval_s)
    except (RemotePathNotFound, NotADirectory, PermissionDenied, BadPath) as error:
        raise MirrorStartFailed(str(error)) from error
    return MirrorStarted(True, task.report())


@post("/api/ssh/mirror/stop", status_code=200, operation_id="ssh_mirror_stop")
async def mirror_stop(data: JSONBody[TaskOnly], serving: Serving) -> Done:
    """End a mirror; nothing is written any more when this answers."""
    remote = serving.own(Remote)
    if not data.task_id:
        raise BadInput("task_id required")
    return Done(await remote.run(remote.mirrors.stop, data.task_id))


@get("/api/ssh/mirror/list", operation_id="ssh_mirror_list", sync_to_thread=False)
def mirror_list(serving: Serving, store: Store) -> MirrorList:
    """The mirrors that run or have failed."""
    return MirrorList(serving.own(Remote).mirrors.reports(), str(store.root))


def _interval(value: float | str | None) -> float:
    try:
        interval_s = 2.0 if value is None else float(value)
    except ValueError:
        interval_s = math.nan
    if not math.isfinite(interval_s):
        raise MirrorStartFailed("Invalid value for interval: must be a number")
    return interval_s


def _list(connection: Connection, path: str) -> Directory:
    with connection.shared_sftp() as sftp:
        return legacy_order(list_directory(sftp, path, show_hidden=True))
