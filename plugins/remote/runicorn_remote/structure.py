"""Does a remote directory look like a storage root?"""

from __future__ import annotations

import posixpath
import stat
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from runicorn_remote.errors import ConnectionLost
from runicorn_remote.looking import Looking

if TYPE_CHECKING:
    from paramiko.sftp_client import SFTPClient

_LOOKED_AT = 20


class Structure(msgspec.Struct, frozen=True):
    """What a root has. An empty one is a root, too."""

    artifacts_exists: bool
    has_model: bool
    has_dataset: bool
    has_config: bool
    has_code: bool
    has_custom: bool
    has_experiments: bool


def structure_of(sftp: SFTPClient, root: str) -> Structure:
    """Look at a root; only at some of its projects, for the answer is whether there are runs at all."""
    looking = Looking(sftp)
    top = _directories(looking, [root])[0]
    kinds = _directories(looking, [posixpath.join(root, "artifacts")])[0] if "artifacts" in top else []
    return Structure(
        "artifacts" in top,
        *(kind in kinds for kind in ("model", "dataset", "config", "code", "custom")),
        has_experiments="runs" in top or _has_runs(looking, root, top),
    )


def _has_runs(looking: Looking, root: str, top: list[str]) -> bool:
    projects = [name for name in top if not name.startswith(".") and name not in ("artifacts", "sweeps")]
    paths = [posixpath.join(root, project) for project in projects[:_LOOKED_AT]]
    for path, names in zip(paths, _directories(looking, paths), strict=True):
        inner = [posixpath.join(path, name) for name in names[:_LOOKED_AT]]
        if any("runs" in found for found in _directories(looking, inner)):
            return True
    return False


def _directories(looking: Looking, paths: Sequence[str]) -> list[list[str]]:
    """The directories, and links, in each of some directories; none in one that cannot be listed."""
    found: list[list[str]] = []
    for entries in looking.lists(paths, shown_as=paths):
        if isinstance(entries, ConnectionLost):
            raise entries
        listed = [] if isinstance(entries, Exception) else entries
        found.append([entry.name for entry in listed if stat.S_ISDIR(entry.stat.mode) or stat.S_ISLNK(entry.stat.mode)])
    return found
