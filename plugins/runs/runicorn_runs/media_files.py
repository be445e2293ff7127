"""Files below a run's `media/`: where they are."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from runicorn.plugin import MEDIA_DIRECTORY, NotFound, open_below, shown

_MAX_NAME_BYTES = 255


class MediaNotFound(NotFound):
    """The run has no such file, or it is not one that may be served."""

    def __init__(self, path: str) -> None:
        super().__init__(f"Media file not found: {shown(path)}")


def open_media(directory: Path, path: str) -> BinaryIO:
    """Open a file by its path below `media/` of the run in `directory`. MediaNotFound; links are not followed."""
    names = media_names(path)
    if not names:
        raise MediaNotFound(path)
    try:
        return open_below(directory, [MEDIA_DIRECTORY, *names])
    except OSError:
        raise MediaNotFound(path) from None


def media_names(path: str) -> list[str]:
    """The names on the way to a media file; empty if one of them is not legal."""
    names = path.strip("/").split("/")
    return names if all(map(_is_legal, names)) else []


def _is_legal(name: str) -> bool:
    return (
        bool(name)
        and name[0] != "."
        and not any(c in "\\/" or ord(c) < 32 or 127 <= ord(c) < 160 or 0xD800 <= ord(c) < 0xE000 for c in name)
        and len(name.encode()) <= _MAX_NAME_BYTES
    )
