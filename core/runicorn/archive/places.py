"""Where in a store the member of an archive belongs: in a folder of a run, or nowhere.

Paths are judged by their components, before anything touches the disk: `<project>/<name>/runs/<id>/…` and `runs/<id>/…`.
"""

from __future__ import annotations

import re

import msgspec

from runicorn.events.discovery import is_run_key
from runicorn.names import RESERVED_PROJECTS

EVENTS_MEMBER = "runicorn.jsonl"
"""At the top of an archive: what the store stream says about its runs. Other programs, and 0.4.0, ignore it."""

LOCK_SUFFIX = ".lock"
"""Of files that say nothing about a run: they are neither exported nor imported."""

_MAX_COMPONENT_BYTES = 255
_MAX_PATH_BYTES = 2048
_MAX_DEPTH = 64
_UNSAFE = re.compile(r"[\\\x00-\x1f\x7f-\x9f\ud800-\udfff]|^/|^[A-Za-z]:|(?:^|/)\.\.(?:/|$)")


class Place(msgspec.Struct, frozen=True):
    """A path in the folder of a run; `path` is empty for the folder itself."""

    key: str
    path: str


def is_safe(name: str) -> bool:
    """Whether the name of a member may be a path at all: relative, downwards, of characters and lengths that files have."""
    if not name or _UNSAFE.search(name) is not None or len(name) > _MAX_PATH_BYTES:
        return False
    components = name.split("/")
    return len(components) <= _MAX_DEPTH and all(
        len(component.encode()) <= _MAX_COMPONENT_BYTES for component in components
    )


def place_of(name: str) -> Place | None:
    """The place of a member with this name; None if it has none."""
    if not is_safe(name):
        return None
    parts = [part for part in name.split("/") if part not in ("", ".")]
    depth = 2 if parts and parts[0] == "runs" else 4
    if len(parts) < depth or (parts[-1].endswith(LOCK_SUFFIX) and len(parts) > depth):
        return None
    key = "/".join(parts[:depth])
    return Place(key, "/".join(parts[depth:])) if is_importable(key) else None


def is_importable(key: str) -> bool:
    """Whether an import takes the run with this key."""
    parts = key.split("/")
    if not is_safe(key) or not is_run_key(key) or any(part.startswith(".") for part in parts):
        return False
    return len(parts) == 2 or parts[0] not in RESERVED_PROJECTS
