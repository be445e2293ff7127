"""Paths on the other machine: which ones a client may name, and which names of a server may become files here.

A server may be hostile: its names are data until they have passed `is_safe_name` and `is_safe_path`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable

from runicorn_remote.errors import BadPath

MAX_SEGMENTS = 32

_MAX_PATH_BYTES = 4096
_MAX_NAME_BYTES = 255
_MAX_PART_BYTES = 200
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_OTHER_HOME = re.compile(r"~[^/]")


def absolute_path(path: str, home: str) -> str:
    """The path that a client means, absolute and normalised lexically; `home` is where SFTP starts.

    `""` and `~` are that directory, other relative paths are below it. BadPath for `~user`, control characters, and more
    than 4096 bytes.
    """
    if len(path.encode("utf-8", "replace")) > _MAX_PATH_BYTES:
        raise BadPath(f"longer than {_MAX_PATH_BYTES} bytes")
    if _CONTROL.search(path):
        raise BadPath("control characters are not allowed")
    if _OTHER_HOME.match(path):
        raise BadPath("~user is not supported")
    path = path.removeprefix("~").lstrip("/") if path.startswith("~") else path
    return normalised(posixpath.join(home, path))


def normalised(path: str) -> str:
    """`a/../b` → `/b`, without a trailing slash."""
    return posixpath.normpath("/" + path.lstrip("/"))


def is_safe_name(name: str) -> bool:
    """Whether a name from a server can be the name of a file here."""
    if name in ("", ".", "..") or "/" in name or _CONTROL.search(name):
        return False
    try:
        return len(name.encode()) <= _MAX_NAME_BYTES
    except UnicodeEncodeError:  # bytes that are not UTF-8: they could not be named in an answer
        return False


def is_safe_path(segments: Iterable[str]) -> bool:
    """Whether a relative path from a server can be one here."""
    segments = list(segments)
    return 0 < len(segments) <= MAX_SEGMENTS and all(is_safe_name(segment) for segment in segments)


def part_name(name: str, mark: str) -> str:
    """What a file is called until it is complete: beside it, hidden, and not longer than names may be."""
    shortened = name.encode("utf-8", "surrogateescape")[:_MAX_PART_BYTES].decode("utf-8", "ignore")
    return f".{shortened}.{mark}.part"
