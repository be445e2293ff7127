"""Files below a run's `media/`: where they are, and how a browser may be given them.

They come from training code, which may store anything: what a browser would run as a page of this server is only ever
offered as a download.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import BinaryIO

from runicorn.plugin import MEDIA_DIRECTORY, NotFound, open_below, shown

_MAX_NAME_BYTES = 255

_SHOWN = {
    ".apng": "image/apng",
    ".avif": "image/avif",
    ".bmp": "image/bmp",
    ".gif": "image/gif",
    ".ico": "image/vnd.microsoft.icon",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".webp": "image/webp",
    ".mp4": "video/mp4",
    ".webm": "video/webm",
    ".flac": "audio/flac",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".wav": "audio/wav",
    ".csv": "text/plain; charset=utf-8",
    ".json": "text/plain; charset=utf-8",
    ".log": "text/plain; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
}
"""What browsers show without running anything. Everything else is a download."""

_SVG = "image/svg+xml"  # inert in `<img>`, which a download can be shown in, too; opened as a page it would run its scripts
_UNKNOWN = "application/octet-stream"
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"


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


def media_type(path: str) -> str:
    """The media type of a file, by its name."""
    suffix = PurePosixPath(path).suffix.lower()
    return _SVG if suffix == ".svg" else _SHOWN.get(suffix, _UNKNOWN)


def media_headers(path: str) -> dict[str, str]:
    """How a browser may treat a file: show it, or only store it; and never as a page of this server."""
    disposition = "inline" if PurePosixPath(path).suffix.lower() in _SHOWN else "attachment"
    return {
        "content-disposition": disposition,
        "content-security-policy": _POLICY,
        "cache-control": "no-cache",
    }


def _is_legal(name: str) -> bool:
    return (
        bool(name)
        and name[0] != "."
        and not any(c in "\\/" or ord(c) < 32 or 127 <= ord(c) < 160 or 0xD800 <= ord(c) < 0xE000 for c in name)
        and len(name.encode()) <= _MAX_NAME_BYTES
    )
