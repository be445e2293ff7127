"""Does a remote directory look like a storage root?"""

from __future__ import annotations

import posixpath
import stat
from typing import TYPE_CHECKING

import msgspec

from runicorn_remote.channels import translated
from runicorn_remote.errors import ConnectionLost, OperationTimeout, RemoteError
from runicorn_remote.pipeline import Pipeline

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
    pipeline = Pipeline(sftp)
    top = _directories(pipeline, root)
    kinds = _directories(pipeline, posixpath.join(root, "artifacts")) if "artifacts" in top else []
    return Structure(
        "artifacts" in top,
        *(kind in kinds for kind in ("model", "dataset", "config", "code", "custom")),
        has_experiments="runs" in top or _has_runs(pipeline, root, top),
    )


def _has_runs(pipeline: Pipeline, root: str, top: list[str]) -> bool:
    projects = [name for name in top if not name.startswith(".") and name not in ("artifacts", "sweeps")]
    for project in projects[:_LOOKED_AT]:
        for name in _directories(pipeline, posixpath.join(root, project))[:_LOOKED_AT]:
            if "runs" in _directories(pipeline, posixpath.join(root, project, name)):
                return True
    return False


def _directories(pipeline: Pipeline, path: str) -> list[str]:
    try:
        with translated(path):
            entries = pipeline.list(path)
    except (ConnectionLost, OperationTimeout):
        raise
    except (RemoteError, UnicodeEncodeError):
        return []
    return [entry.name for entry in entries if stat.S_ISDIR(entry.stat.mode) or stat.S_ISLNK(entry.stat.mode)]
