"""Which files of a remote root are metadata, and where their copies are below a cache."""

from __future__ import annotations

import re

from runicorn.plugin import (
    ARTIFACTS_CREATED_FILE,
    ARTIFACTS_USED_FILE,
    DELETED_FILE,
    ENVIRONMENT_FILE,
    META_FILE,
    STATUS_FILE,
    SUMMARY_FILE,
)
from runicorn_remote.paths import is_safe_path

ARTIFACTS = "artifacts"
EXPERIMENTS = "experiments"

_RUN_FILES = frozenset(
    {
        META_FILE,
        STATUS_FILE,
        SUMMARY_FILE,
        ENVIRONMENT_FILE,
        ARTIFACTS_CREATED_FILE,
        ARTIFACTS_USED_FILE,
        DELETED_FILE,
    }
)
_VERSION_FILES = frozenset({"metadata.json", "manifest.json", "lifecycle.json", DELETED_FILE})
_VERSION = re.compile(r"v[1-9][0-9]{0,17}", re.ASCII)
_NO_PROJECTS = frozenset({ARTIFACTS, "sweeps", "runs"})


def place_of(path: str) -> str | None:
    """Where the copy of a remote file is below `metadata/`; None if it is no metadata, or has a name that is refused."""
    parts = path.split("/")
    if not is_safe_path(parts):
        return None
    if parts[0] == ARTIFACTS:
        if any(part.startswith(".") for part in parts[1:3]):  # staging areas and pools
            return None
        is_index = len(parts) == 4 and parts[3] == "versions.json"
        is_version = len(parts) == 5 and _VERSION.fullmatch(parts[3]) is not None and parts[4] in _VERSION_FILES
        return path if is_index or is_version else None
    run = run_of(path)
    return (
        f"{EXPERIMENTS}/{path}"
        if run is not None and path == f"{run}/{parts[-1]}" and parts[-1] in _RUN_FILES
        else None
    )


def run_of(path: str) -> str | None:
    """The run directory that a remote path leads into; None if it leads into none."""
    parts = path.split("/")
    if parts[0] == "runs":
        return "/".join(parts[:2]) if len(parts) > 2 else None
    is_run = len(parts) > 4 and parts[2] == "runs" and not parts[0].startswith(".") and parts[0] not in _NO_PROJECTS
    return "/".join(parts[:4]) if is_run else None


def is_version(path: str) -> bool:
    """Whether a remote file says that there is a version of an artifact."""
    return path.startswith(f"{ARTIFACTS}/") and path.endswith("/metadata.json")
