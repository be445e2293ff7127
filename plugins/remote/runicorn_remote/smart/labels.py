"""Aliases and tags of versions on a server."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Any, cast

from runicorn.plugin import BadInput, shown
from runicorn_remote.smart.adapter import Adapter
from runicorn_remote.smart.cache import Cache
from runicorn_remote.smart.changes import change_metadata
from runicorn_remote.smart.versions import Version, check_type, types_of

_VERSION = re.compile(r"v([1-9][0-9]{0,17})", re.ASCII)
_VERSION_SPEC = re.compile(r"[vV][0-9]+", re.ASCII)
_UNFIT = re.compile(r'[/\\:*?"<>|\s\x00-\x1f\x7f-\x9f]')
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MAX_TAG = 128
_LATEST = "latest"


def named_version(cache: Cache, name: str, version: str, type: str | None) -> Version:
    """The version that a client means. BadInput; whether it exists is for the server to say. Lists directories."""
    check_type(cache, type)
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
    if _VERSION_SPEC.fullmatch(alias):
        raise BadInput(f"An alias must not look like a version: {shown(alias)}")
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


def add_tags(adapter: Adapter, version: Version, tags: Sequence[str]) -> None:
    """Add tags to a version. NoSuchVersion, also if it is soft-deleted; RemoteLocked, ChangeFailed."""

    def change(metadata: dict[str, Any]) -> None:
        stored = metadata.get("tags")
        before = [tag for tag in cast(list[object], stored) if isinstance(tag, str)] if isinstance(stored, list) else []
        metadata["tags"] = list(dict.fromkeys([*before, *tags]))
        metadata["updated_at"] = time.time()

    change_metadata(adapter, version.key, version.number, change)
