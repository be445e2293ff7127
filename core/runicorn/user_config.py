"""Changing the user's configuration files: `config.json` and those beside it.

Server, command line and SDK may write at the same time: a change takes the lock, reads again, changes, and replaces the
file. A file that cannot be understood is kept aside, never overwritten.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from runicorn.config import config_file
from runicorn.errors import BadInput, Unavailable
from runicorn.files import file_lock, read_json_object, replace_file, write_json

logger = logging.getLogger("runicorn.config")

_LOCK_S = 5.0
_PERCENT = re.compile(r"%([^%]+)%")


class InvalidRoot(BadInput):
    """A path cannot be a storage root."""

    def __init__(self, reason: str = "Path does not exist or is not writable") -> None:
        super().__init__(f"Invalid path: {reason}")


class NotSaved(Unavailable):
    """A configuration file could not be written."""

    def __init__(self) -> None:
        super().__init__("Configuration could not be saved")


def read_config(path: Path) -> dict[str, Any]:
    """The JSON object in a configuration file; empty, and said in the log, if something else is in it."""
    content = read_json_object(path)
    if content is None and path.exists():
        logger.warning("%s is not a JSON object: it counts as empty", path.name)
    return content or {}


def change_json(
    path: Path,
    change: Callable[[dict[str, Any]], None],
    *,
    is_sound: Callable[[dict[str, Any]], bool] = lambda _: True,
) -> dict[str, Any]:
    """Let `change` edit the JSON object in `path` (empty if there is none) and save it; the new content.

    Holds `<file>.lock`. The directory is created with mode 0700, the file has mode 0600. NotSaved if it is not on disk
    afterwards; exceptions of `change` leave the file as it was. A copy of content that is not `is_sound`, because the
    change may lose some of it, is kept aside.
    """
    try:
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with file_lock(f"{path}.lock", timeout_s=_LOCK_S):
            content = read_json_object(path)
            broken = content is None and path.exists()
            content = content or {}
            odd = None if broken or is_sound(content) else path.read_bytes()
            change(content)
            if broken:
                keep_aside(path)
            elif odd is not None:
                _write_aside(path, odd)
            write_json(path, content, fsync=True, mode=0o600)
            return content
    except OSError as error:  # LockTimeout is one
        logger.error("%s cannot be saved: %s", path.name, error)
        raise NotSaved from error


def keep_aside(path: Path) -> None:
    """Rename a file that cannot be understood to `<file>.broken-<Unix time>`. OSError as it comes."""
    aside = _aside(path)
    os.rename(path, aside)
    logger.error("%s is damaged; it is kept as %s", path.name, aside.name)


def _write_aside(path: Path, content: bytes) -> None:
    aside = _aside(path)
    replace_file(aside, content, fsync=True, mode=0o600)
    logger.error("%s has odd content; a copy is kept as %s", path.name, aside.name)


def _aside(path: Path) -> Path:
    second = int(time.time())
    while os.path.lexists(aside := path.with_name(f"{path.name}.broken-{second}")):
        second += 1  # several in one second: none replaces another
    return aside


def expand_root(text: object) -> Path:
    """The storage root that a user means: variables and `~` expanded, symlinks resolved. InvalidRoot if it is no path."""
    if not isinstance(text, str) or not text.strip():
        raise InvalidRoot("path must be a non-empty string")
    expanded = os.path.expanduser(os.path.expandvars(text.strip()))
    if os.name == "nt":
        expanded = _PERCENT.sub(lambda match: os.environ.get(match[1], match[0]), expanded)
    if not os.path.isabs(expanded) or any(ord(character) < 32 or ord(character) == 127 for character in expanded):
        raise InvalidRoot("path must be absolute")
    try:
        return Path(os.path.realpath(expanded))
    except (OSError, ValueError):
        raise InvalidRoot("path must be absolute") from None


def prepare_root(root: Path) -> list[Path]:
    """Create a root with its `runs` directory and see that it can be written; the directories that were made.

    InvalidRoot if it cannot be used; then nothing is left.
    """
    made: list[Path] = []
    try:
        for directory in reversed([root / "runs", root, *root.parents]):
            if not directory.exists():
                directory.mkdir(exist_ok=True)
                made.append(directory)
        probe = root / f".runicorn-probe-{os.getpid()}-{os.urandom(4).hex()}"
        probe.write_bytes(b"")
        probe.unlink()
    except (OSError, ValueError):
        remove_made(made)
        raise InvalidRoot from None
    return made


def remove_made(made: Sequence[Path]) -> None:
    """Remove the directories that `prepare_root` made, as far as they are empty."""
    for directory in reversed(made):
        with contextlib.suppress(OSError):
            directory.rmdir()


def store_user_root(root: Path) -> None:
    """Make `root` the storage root of this user from the next start on. NotSaved."""
    change_json(config_file(), lambda content: content.update(user_root_dir=str(root)))


def set_user_root(text: object) -> Path:
    """Check, create and store the user's storage root; the absolute path. InvalidRoot or NotSaved otherwise."""
    root = expand_root(text)
    made = prepare_root(root)
    try:
        store_user_root(root)
    except NotSaved:
        remove_made(made)
        raise
    return root
