"""How a browser may be given files that users and their programs have stored.

They may hold anything: what a browser would run as a page of this server is only ever offered as a download.
"""

from __future__ import annotations

from pathlib import PurePosixPath

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


def inert_media_type(path: str) -> str:
    """The media type of a file, by its name."""
    suffix = PurePosixPath(path).suffix.lower()
    return _SVG if suffix == ".svg" else _SHOWN.get(suffix, _UNKNOWN)


def inert_headers(path: str) -> dict[str, str]:
    """How a browser may treat a file: show it, or only store it; and never as a page of this server."""
    disposition = "inline" if PurePosixPath(path).suffix.lower() in _SHOWN else "attachment"
    return {
        "content-disposition": disposition,
        "content-security-policy": _POLICY,
        "cache-control": "no-cache",
    }
