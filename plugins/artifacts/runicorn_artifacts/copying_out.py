"""Files of a version for a user: writable copies, which share nothing with the store but blocks."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from runicorn_artifacts.copying import Progress, copy_content, no_progress
from runicorn_artifacts.folder import ArtifactFolder, file_of


def copy_version(folder: ArtifactFolder, version: int, target: Path, progress: Progress = no_progress) -> None:
    """Copy a version's files into a directory, which is created. FileNotFoundError if one is missing or damaged."""
    manifest = folder.manifest(version)
    target.mkdir(parents=True, exist_ok=True)
    for entry in [] if manifest is None else manifest.content.files:
        source = file_of(folder.version_path(version), entry)
        if source is None:
            raise FileNotFoundError(f"File of {folder.name}:v{version} is missing or damaged: {entry.path}")
        _copy_out(source, target.joinpath(*entry.path.split("/")), entry.modified_at)
        progress(entry.size)


def _copy_out(source: Path, target: Path, modified_at: float | None) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        else:
            os.unlink(target)
    copy_content(source, target, mode=0o666 | (source.stat().st_mode & 0o111))
    if modified_at is not None:
        os.utime(target, (modified_at, modified_at))
