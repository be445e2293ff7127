"""Runs and artifacts as the units that belong to one source or another."""

from __future__ import annotations

import re

from runicorn_remote.paths import is_safe_path

SMALL_BYTES = 256 << 10
"""Files up to this size are fetched many at a time; what is larger has a lane of its own."""

_EXCLUDED = re.compile(r".*\.(lock|tmp|part)|.*\.tmp-.*|runicorn\.db.*", re.DOTALL)
_EXCLUDED_DIRECTORIES = frozenset({".dedup", ".mirrors", ".runicorn"})
_APPEND_ONLY = re.compile(r"logs\.txt|.*\.jsonl|.*\.log", re.DOTALL)


def unit_of(path: str) -> str | None:
    """The run or artifact directory that a file belongs to; None for a file outside of all."""
    parts = path.split("/")
    if parts[0] == "artifacts":
        return "/".join(parts[:3]) if len(parts) > 3 else None
    if parts[0] == "runs":
        return "/".join(parts[:2]) if len(parts) > 2 else None
    return "/".join(parts[:4]) if len(parts) > 4 and parts[2] == "runs" else None


def is_run(unit: str) -> bool:
    """Whether a unit is a run, not an artifact."""
    return not unit.startswith("artifacts/")


def is_wanted(path: str) -> bool:
    """Whether a file is mirrored at all: not a lock, a temporary file, an index or a pool."""
    *directories, name = path.split("/")
    return _EXCLUDED.fullmatch(name) is None and not _EXCLUDED_DIRECTORIES.intersection(directories)


def is_acceptable(path: str) -> bool:
    """Whether a path from a server may be one here."""
    return is_safe_path(path.split("/"))


def is_append_only(path: str) -> bool:
    """Whether a file grows by whole appends, going by its name."""
    return _APPEND_ONLY.fullmatch(path.rpartition("/")[2]) is not None
