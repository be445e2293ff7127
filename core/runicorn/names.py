"""Names and ids: what may become a path segment, and how run ids are made.

These rules apply to what Runicorn creates. Directories that exist already are shown whatever they are called.
"""

from __future__ import annotations

import os
import re
import time

from runicorn.errors import InvalidName

RUN_ID = re.compile(r"[0-9]{8}_[0-9]{6}_[a-f0-9]{6}")
"""Generated run ids; use `fullmatch`."""

RESERVED_PROJECTS = frozenset({"runs", "webui", "artifacts"})

_MAX_CHARACTERS = 100
_MAX_BYTES = 128
_FORBIDDEN = re.compile(r"[/\\\x00-\x1f\x7f-\x9f\ud800-\udfff]|\.\.")


def is_segment(value: str) -> bool:
    """Whether `value` may become one path segment: no separator, control character, `..`, leading dot; not too long."""
    return (
        0 < len(value) <= _MAX_CHARACTERS
        and not value.isspace()
        and value[0] != "."
        and _FORBIDDEN.search(value) is None
        and len(value.encode()) <= _MAX_BYTES
    )


def check_segment(value: str, what: str) -> str:
    """`value` itself, or `InvalidName` with the text `Invalid <what>: '<value>'`, control characters escaped."""
    if not is_segment(value):
        raise InvalidName(f"Invalid {what}: {value[:_MAX_BYTES]!r}")
    return value


def check_project(value: str) -> str:
    """A new project's name; reserved top-level directory names are refused."""
    if value in RESERVED_PROJECTS:
        raise InvalidName(f"Invalid project name: {value!r} (reserved)")
    return check_segment(value, "project name")


def is_run_id(value: str) -> bool:
    """Whether `value` has the form of a generated id, `YYYYMMDD_HHMMSS_XXXXXX`. Custom ids are legal, but do not."""
    return RUN_ID.fullmatch(value) is not None


def new_run_id(now: float | None = None) -> str:
    """A new id: local time and 24 random bits."""
    stamp = time.strftime("%Y%m%d_%H%M%S", time.localtime(now))
    return f"{stamp}_{os.urandom(3).hex()}"
