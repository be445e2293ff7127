"""Where a download may go: a directory below the storage root that a client names."""

from __future__ import annotations

import os
import re
from pathlib import Path

from runicorn.plugin import BadInput, shown

_MAX_CHARACTERS = 240
_MAX_SEGMENT_BYTES = 255
_FORBIDDEN = re.compile(r'[<>|*?"\x00-\x1f\x7f]')


class InvalidTarget(BadInput):
    """Not a place for a download."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"Invalid target directory: {reason}")


def target_below(root: Path, wanted: str) -> Path:
    """The directory that a client names relative to the storage root; it need not exist. InvalidTarget."""
    if _FORBIDDEN.search(wanted):
        raise InvalidTarget("Path contains forbidden characters")
    parts = [part for part in wanted.split("/") if part not in ("", ".")]
    if wanted.startswith("/") or "\\" in wanted or ":" in wanted or ".." in parts or not parts:
        raise InvalidTarget("Path contains invalid characters or patterns")
    if len(wanted) > _MAX_CHARACTERS or any(
        len(part.encode("utf-8", "replace")) > _MAX_SEGMENT_BYTES for part in parts
    ):
        raise InvalidTarget(f"Path too long: {len(wanted)} characters")
    target = root
    for part in parts:
        target = target / part
        if target.is_symlink():
            raise InvalidTarget(f"Path contains symbolic link: {shown(part)}")
    if not os.path.realpath(target).startswith(os.path.realpath(root) + os.sep):
        raise InvalidTarget(f"Path escapes base directory: {shown(wanted)}")
    return target
