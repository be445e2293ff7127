"""Events of the store stream about other machines: logins, host keys, mirrors, syncs, and what was written there.

No field holds a secret, nor the text of an answer of a server that we did not write ourselves.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import ClassVar

from runicorn.plugin import Payload, RunicornError
from runicorn_remote.connector import Target
from runicorn_remote.errors import ConnectFailed, HostKey, HostKeyMismatch
from runicorn_remote.mirror.source import RemoteSource

logger = logging.getLogger("runicorn.remote")


class RemoteConnected(Payload, frozen=True, kw_only=True):
    """Somebody logged in to `source` (`user@host:port`), with a `method` such as `key`, `agent` or `password`."""

    event_type: ClassVar[str] = "remote.connected"
    source: str
    method: str


class RemoteRefused(Payload, frozen=True, kw_only=True):
    """A login to `source` did not work; `code` says why, as in the answer over HTTP."""

    event_type: ClassVar[str] = "remote.refused"
    source: str
    code: str


class HostKeyTrusted(Payload, frozen=True, kw_only=True):
    """The key of a host that nobody had seen before was stored, and is expected from now on."""

    event_type: ClassVar[str] = "host_key.trusted"
    source: str
    key_type: str
    sha256: str


class HostKeyMismatched(Payload, frozen=True, kw_only=True):
    """A host showed another key than the one that is known, or a revoked one (`expected` is None)."""

    event_type: ClassVar[str] = "host_key.mismatched"
    source: str
    key_type: str
    sha256: str
    expected: str | None


class MirrorStarted(Payload, frozen=True, kw_only=True):
    """The root `remote_root` of `source` is followed into this one, with a look every `interval` seconds."""

    event_type: ClassVar[str] = "mirror.started"
    source: str
    remote_root: str
    interval: float


class MirrorChanged(Payload, frozen=True, kw_only=True):
    """A mirror is in another `state`: `syncing`, `watching`, `reconnecting` or `error`; `error` is a line that says why."""

    event_type: ClassVar[str] = "mirror.changed"
    source: str
    remote_root: str
    state: str
    error: str


class MirrorStopped(Payload, frozen=True, kw_only=True):
    """A mirror was stopped; what it has brought since it was started."""

    event_type: ClassVar[str] = "mirror.stopped"
    source: str
    remote_root: str
    files: int
    bytes: int


class RemoteSynced(Payload, frozen=True, kw_only=True):
    """The cache of `remote_root` was brought up to date (`completed`), or could not be (`failed`).

    Syncs that find nothing new after one that was completed are not told.
    """

    event_type: ClassVar[str] = "remote.synced"
    source: str
    remote_root: str
    status: str
    files: int
    bytes: int
    errors: int


class RemoteWritten(Payload, frozen=True, kw_only=True):
    """Something was changed on the server: `what` of `artifact`, as in `model/net:v3`.

    `alias` and `tags` have `values`: what was set, or the alias that was removed (then `artifact` has no version). `deleted`,
    `restored` and `purged` have none.
    """

    event_type: ClassVar[str] = "remote.written"
    source: str
    remote_root: str
    what: str
    artifact: str
    values: list[str]


EVENTS: tuple[type[Payload], ...] = (
    RemoteConnected,
    RemoteRefused,
    HostKeyTrusted,
    HostKeyMismatched,
    MirrorStarted,
    MirrorChanged,
    MirrorStopped,
    RemoteSynced,
    RemoteWritten,
)


class Journal:
    """Tells the log of a storage root, and that of the server. Blocks, for threads; never raises."""

    def __init__(self, record: Callable[..., object]) -> None:
        """`record` appends events to the store stream, such as `Store.record`."""
        self._record = record

    def tell(self, *payloads: Payload) -> None:
        """Append events. What cannot be recorded is in the server's log alone."""
        for payload in payloads:
            logger.info("%s %s", payload.event_type, payload)
        try:
            self._record(*payloads)
        except RunicornError as error:
            logger.warning("events about another machine are not recorded: %s", error)


def of_write(source: RemoteSource, what: str, key: str, version: int | None, *values: str) -> RemoteWritten:
    """What a change of the artifact `artifacts/<type>/<name>` says."""
    name = "/".join(key.split("/")[1:])
    return RemoteWritten(
        source=source.target.connection_id,
        remote_root=source.root,
        what=what,
        artifact=name if version is None else f"{name}:v{version}",
        values=list(values),
    )


def of_login(target: Target, method: str, key: HostKey, *, first_use: bool) -> Sequence[Payload]:
    """What a login says that worked."""
    source = target.connection_id
    trusted = [HostKeyTrusted(source=source, key_type=key.type, sha256=key.sha256)] if first_use else []
    return [*trusted, RemoteConnected(source=source, method=method)]


def of_failure(target: Target, failure: ConnectFailed) -> Sequence[Payload]:
    """What a login says that did not work."""
    source, key = target.connection_id, failure.host_key
    found: list[Payload] = []
    if failure.first_use and key is not None:
        found.append(HostKeyTrusted(source=source, key_type=key.type, sha256=key.sha256))
    if isinstance(failure, HostKeyMismatch) and key is not None:
        expected = None if failure.expected_host_key is None else failure.expected_host_key.sha256
        found.append(HostKeyMismatched(source=source, key_type=key.type, sha256=key.sha256, expected=expected))
    return [*found, RemoteRefused(source=source, code=failure.code)]
