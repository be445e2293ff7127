"""What only the files of a run can tell. For threads: a folder may be large, and on a slow disk."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from runicorn.plugin import ENVIRONMENT_FILE

_LOCK = ".lock"


class RunFolder(msgspec.Struct, frozen=True):
    """A run's directory."""

    has_environment: bool
    file_count: int
    """Regular files in it and below, lock files left out; links are not followed."""


def look_at(directory: Path) -> RunFolder:
    """Walk through a directory. What cannot be read is left out."""
    count = 0
    folders = [os.fspath(directory)]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    elif entry.is_file(follow_symlinks=False) and not entry.name.endswith(_LOCK):
                        count += 1
        except OSError:
            continue
    return RunFolder(os.path.isfile(directory / ENVIRONMENT_FILE), count)
