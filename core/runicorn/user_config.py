"""Changing the user's configuration files: `config.json` and those beside it.

Server, command line and SDK may write at the same time: a change takes the lock, reads again, changes, and replaces the
file. A file that cannot be understood is kept aside, never overwritten.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runicorn.config import config_file
from runicorn.errors import BadInput, Unavailable
from runicorn.files import file_lock, read_json_object, write_json

logger = logging.getLogger("runicorn.config")

_LOCK_S = 5.0
_PERCENT = re.compile(r"%([^%]+)%")


class NotSaved(Unavailable):
    """A configuration file could not be written."""

    def __init__(self) -> None:
        super().__init__("Configuration could not be saved")


def change_json(path: Path, change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Let `change` edit the JSON object in `path` (empty if there is none) and save it; the new content.

    Holds `<file>.lock`. The directory is created with mode 0700, the file has mode 0600. NotSaved if it is not on disk
    afterwards; exceptions of `change` leave the file as it was.
    """
    try:
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with file_lock(f"{path}.lock", timeout_s=_LOCK_S):
            content = read_json_object(path)
            broken = content is None and path.exists()
            content = content or {}
            change(content)
            if broken:
                aside = path.with_name(f"{path.name}.broken-{int(time.time())}")
                os.rename(path, aside)
                logger.error("%s is not a JSON object; it is kept as %s", path.name, aside.name)
            write_json(path, content, fsync=True, mode=0o600)
            return content
    except OSError as error:  # LockTimeout is one
        logger.error("%s cannot be saved: %s", path.name, error)
        raise NotSaved from error


def expand_root(text: object) -> Path:
    """The storage root that a user means: variables and `~` expanded, symlinks resolved. BadInput if it is no path."""
    if not isinstance(text, str) or not text.strip():
        raise BadInput("Invalid path: path must be a non-empty string")
    expanded = os.path.expanduser(os.path.expandvars(text.strip()))
    if os.name == "nt":
        expanded = _PERCENT.sub(lambda match: os.environ.get(match[1], match[0]), expanded)
    if not os.path.isabs(expanded) or any(ord(character) < 32 or ord(character) == 127 for character in expanded):
        raise BadInput("Invalid path: path must be absolute")
    try:
        return Path(os.path.realpath(expanded))
    except (OSError, ValueError):
        raise BadInput("Invalid path: path must be absolute") from None


def prepare_root(root: Path) -> None:
    """Create a root with its `runs` directory and see that it can be written. BadInput if not; then nothing is left."""
    made: list[Path] = []
    try:
        for directory in reversed([root / "runs", root, *root.parents]):
            if not directory.exists():
                directory.mkdir()
                made.append(directory)
        probe = root / f".runicorn-probe-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except (OSError, ValueError):
        for directory in reversed(made):
            directory.rmdir()
        raise BadInput("Invalid path: Path does not exist or is not writable") from None


def set_user_root(text: object) -> Path:
    """Check, create and store the user's storage root; the absolute path. BadInput or NotSaved otherwise."""
    root = expand_root(text)
    prepare_root(root)
    change_json(config_file(), lambda content: content.update(user_root_dir=str(root)))
    return root
