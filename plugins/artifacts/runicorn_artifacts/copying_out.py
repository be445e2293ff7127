"""Files of a version for a user: writable copies, which share nothing with the store but blocks.

What is handed out is what was saved: every copy is hashed, and gets its name when it has proved to be sound.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from runicorn.plugin import shown
from runicorn_artifacts.copying import Progress, copy_hashed, no_progress
from runicorn_artifacts.errors import DamagedContent
from runicorn_artifacts.folder import ArtifactFolder, file_of
from runicorn_artifacts.manifest import FileEntry


def copy_version(folder: ArtifactFolder, version: int, target: Path, progress: Progress = no_progress) -> None:
    """Copy a version's files into a directory, which is created; each replaces what has its name there.

    DamagedContent, if a file is missing or not the one that was saved: of that one nothing is left behind. With nothing
    copied: UnreadableManifest, if the manifest is not the one that was saved; IsADirectoryError, if a directory has a
    file's name. OSError as it comes.
    """
    name = f"{folder.name}:v{version}"
    found: list[tuple[FileEntry, Path, Path]] = []
    for entry in folder.saved_manifest(version).files:
        source = file_of(folder.version_path(version), entry)
        if source is None:
            raise DamagedContent(name, entry.path)
        place = target.joinpath(*entry.path.split("/"))
        if place.is_dir() and not place.is_symlink():
            file = f"{shown(entry.path)} of {shown(name)}"
            raise IsADirectoryError(f"A directory is where {file} goes: move it away, or copy elsewhere")
        found.append((entry, source, place))
    target.mkdir(parents=True, exist_ok=True)
    for entry, source, place in found:
        place.parent.mkdir(parents=True, exist_ok=True)
        if not _copy_out(source, place, entry, progress):
            raise DamagedContent(name, entry.path)


def _copy_out(source: Path, place: Path, entry: FileEntry, progress: Progress) -> bool:
    """Whether the copy is in its place: only if it holds what the entry says."""
    partial = place.with_name(f".{os.urandom(8).hex()}.partial")
    try:
        mode = 0o666 | (source.stat().st_mode & 0o111)
        if copy_hashed(source, partial, mode=mode, progress=progress) != (entry.sha256, entry.size):
            return False
        if entry.modified_at is not None:
            os.utime(partial, (entry.modified_at, entry.modified_at))
        os.replace(partial, place)
    finally:
        with contextlib.suppress(FileNotFoundError):  # it is in its place
            os.unlink(partial)
    return True
