"""Archives as other programs make them, and as nobody should."""

from __future__ import annotations

import io
import tarfile
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Entry = bytes | dict[str, Any]
"""The content of a file, or fields of a `tarfile.TarInfo`."""


def tar_of(entries: Mapping[str, Entry] | list[tuple[str, Entry]], mode: str = "w:gz") -> bytes:
    """A tar archive of files and odd members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=tarfile.PAX_FORMAT) as archive:  # type: ignore[call-overload]  # the mode is a parameter
        for name, entry in entries.items() if isinstance(entries, Mapping) else entries:
            info = tarfile.TarInfo(name)
            info.mtime = int(time.time()) - 100
            content = entry if isinstance(entry, bytes) else b""
            info.size = len(content)
            for field, value in () if isinstance(entry, bytes) else entry.items():
                setattr(info, field, value)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def zip_of(entries: Mapping[str, Entry] | list[tuple[str, Entry]]) -> bytes:
    """A zip archive of files; `{"mode": 0o120777}` gives Unix modes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, entry in entries.items() if isinstance(entries, Mapping) else entries:
            info = zipfile.ZipInfo(name, (2024, 1, 14, 15, 30, 44))
            info.filename = name  # the constructor cuts it at a NUL
            info.compress_type = zipfile.ZIP_DEFLATED
            content = entry if isinstance(entry, bytes) else entry.get("content", b"target")
            if not isinstance(entry, bytes):
                info.external_attr = entry.get("mode", 0o100644) << 16
            archive.writestr(info, content)
    return buffer.getvalue()


Packer = Callable[[Mapping[str, Entry]], bytes]


def tree(directory: Path) -> dict[str, bytes | None]:
    """Everything below a directory, but our own files: the content of files, None for directories.

    The directory is a storage root, or has one that is called `root`.
    """
    own = {directory / ".runicorn", directory / "root" / ".runicorn"}
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None
        for path in sorted(directory.rglob("*"))
        if not own.intersection([path, *path.parents]) and not path.name.endswith(".lock")
    }
