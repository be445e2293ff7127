"""Aliases and tags of versions on a server."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

from runicorn.plugin import DELETED_FILE, BadInput, NotFound, integer, shown
from runicorn_remote.channels import translated
from runicorn_remote.errors import OperationFailed, RemoteError, RemotePathNotFound
from runicorn_remote.smart.adapter import Adapter
from runicorn_remote.smart.cache import Cache
from runicorn_remote.smart.places import ARTIFACTS
from runicorn_remote.smart.remote_json import change_json
from runicorn_remote.smart.versions import TYPES, Version, types_of

_VERSION = re.compile(r"v([1-9][0-9]{0,17})", re.ASCII)
_UNFIT = re.compile(r'[/\\:*?"<>|\s\x00-\x1f\x7f-\x9f]')
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MAX_TAG = 128
_LATEST = "latest"
_turn = threading.Lock()
"""Of this process: others are kept out by the lock on the server."""


class NoSuchVersion(NotFound):
    """The server does not have it, or it is soft-deleted there."""

    def __init__(self, version: Version) -> None:
        super().__init__(f"Artifact version not found: {shown(version.name)}:v{version.number}")


class ChangeFailed(RemoteError):
    """The server did not take a change; nothing has changed."""

    status, code = 503, "change_failed"

    def __init__(self, what: str) -> None:
        super().__init__(f"Failed to {what} on remote server")


def named_version(cache: Cache, name: str, version: str, type: str | None) -> Version:
    """The version that a client means. BadInput; whether it exists is for the server to say."""
    if type is not None and type not in TYPES:
        raise BadInput(f"Invalid artifact type: {shown(type)}")
    number = _VERSION.fullmatch(version)
    if number is None:
        raise BadInput(f"Version must be a positive integer, got: {shown(version.removeprefix('v'))}")
    types = types_of(cache, name)
    if (type is None and len(types) != 1) or (type is not None and type not in types):
        raise BadInput(f"Artifact type not found for: {shown(name)}")
    return Version(type or types[0], name, int(number[1]))


def checked_alias(alias: object) -> str:
    """An alias that may be set. BadInput."""
    if not isinstance(alias, str) or not alias.strip():
        raise BadInput("Alias must be a non-empty string")
    if _UNFIT.search(alias):
        raise BadInput(f"Alias contains invalid characters: {shown(alias)}")
    if alias == _LATEST:
        raise BadInput("The alias latest follows the newest version by itself")
    return alias


def checked_tags(tags: object) -> list[str]:
    """Tags that may be added, each once. BadInput."""
    if not isinstance(tags, list) or not tags:
        raise BadInput("Tags must be a non-empty list")
    for tag in cast(list[object], tags):
        if not isinstance(tag, str) or not tag.strip() or len(tag) > _MAX_TAG or _CONTROL.search(tag):
            raise BadInput(f"Invalid tag: {shown(str(tag))}")
    return list(dict.fromkeys(cast(list[str], tags)))


def set_alias(adapter: Adapter, version: Version, alias: str) -> None:
    """Have an alias mean a version. NoSuchVersion, RemoteLocked, ChangeFailed."""

    def change(index: dict[str, Any]) -> None:
        stored, listed = index.get("aliases"), index.get("versions")
        aliases = cast(dict[str, Any], stored) if isinstance(stored, dict) else {}
        index["aliases"] = aliases = {**aliases, alias: version.number}
        items = [cast(dict[str, Any], item) for item in cast(list[Any], listed or []) if isinstance(item, dict)]
        if not any(integer(item.get("version")) == version.number for item in items):
            raise NoSuchVersion(version)
        for item in items:
            is_ready = item.get("status") != "deleted"
            item["aliases"] = [name for name, at in aliases.items() if at == item.get("version") and is_ready]

    _change(adapter, version, f"{ARTIFACTS}/{version.type}/{version.name}/versions.json", change, "set alias")


def add_tags(adapter: Adapter, version: Version, tags: Sequence[str]) -> None:
    """Add tags to a version. NoSuchVersion, RemoteLocked, ChangeFailed."""

    def change(metadata: dict[str, Any]) -> None:
        stored = metadata.get("tags")
        before = [tag for tag in cast(list[object], stored) if isinstance(tag, str)] if isinstance(stored, list) else []
        metadata["tags"] = list(dict.fromkeys([*before, *tags]))
        metadata["updated_at"] = time.time()

    _change(adapter, version, f"{version.directory}/metadata.json", change, "add tags")


def _change(adapter: Adapter, version: Version, path: str, change: Callable[[dict[str, Any]], None], what: str) -> None:
    root = adapter.source.root.rstrip("/")
    try:
        sftp = adapter.connection.open_sftp()
        try:
            with _turn:
                _check_exists(sftp, f"{root}/{version.directory}", version)
                data = change_json(sftp, f"{root}/{path}", change)
        finally:
            sftp.close()
    except (OperationFailed, OSError) as error:
        raise ChangeFailed(what) from error
    with adapter.cache.tree.place(path) as place, place.replacement() as replacement:
        replacement.write([data])
        replacement.install()


def _check_exists(sftp: Any, directory: str, version: Version) -> None:
    try:
        with translated(directory):
            sftp.stat(f"{directory}/metadata.json")
    except RemotePathNotFound as error:
        raise NoSuchVersion(version) from error
    try:
        with translated(directory):
            sftp.lstat(f"{directory}/{DELETED_FILE}")
    except RemotePathNotFound:
        return
    raise NoSuchVersion(version)
