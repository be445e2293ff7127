"""What plugins that are no longer installed have left in a state directory: read models, cursors, and their own directories.

Nobody reads it any more. The log keeps the events that they recorded; with the plugin back, its read model is built again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Collection
from pathlib import Path

import msgspec

from runicorn.errors import StorageUnavailable, Unavailable
from runicorn.files import LockTimeout, file_lock
from runicorn.projection.asking import ask
from runicorn.projection.cursors import CURSORS
from runicorn.projection.generations import FINISHED_BY, model_named
from runicorn.projection.reactions import DIRECTORIES
from runicorn.projection.wire import PROJECTOR_LOCK, Request

_ANSWER_S = 5.0
_BESIDE = ("-wal", "-shm", "-journal")


class Leftover(msgspec.Struct):
    """What one plugin has left."""

    plugin: str
    bytes: int
    files: list[str]
    """Below the state directory; directories are named as a whole."""


class Leftovers(msgspec.Struct):
    """What was found, or removed."""

    bytes: int
    plugins: list[Leftover]
    in_use: list[str]
    """Plugins that a running server still uses, though they are no longer installed: nothing of theirs was touched."""


def clean(state_dir: Path, installed: Collection[str], *, only_look: bool = False) -> Leftovers:
    """Remove all that is of plugins which are not among `installed`; what that was.

    Unavailable if a projector works here that does not say which plugins it uses; StorageUnavailable if something cannot be
    removed.
    """
    if not state_dir.is_dir():
        return Leftovers(0, [], [])
    with contextlib.ExitStack() as stack:
        in_use: Collection[str] = ()
        try:
            if not only_look:
                stack.enter_context(file_lock(state_dir / PROJECTOR_LOCK, timeout_s=0))
        except LockTimeout:
            in_use = _in_use(state_dir)
        except OSError as error:
            raise StorageUnavailable(f"The state directory cannot be written: {error.strerror}") from error
        found = _find(state_dir, installed)
        removable = {plugin: paths for plugin, paths in sorted(found.items()) if plugin not in in_use}
        leftovers = [
            Leftover(plugin, sum(map(_size, paths)), sorted(str(path.relative_to(state_dir)) for path in paths))
            for plugin, paths in removable.items()
        ]
        if not only_look:
            try:
                for path in (path for paths in removable.values() for path in paths):
                    _remove(path)
            except OSError as error:
                raise StorageUnavailable(f"{error.filename} cannot be removed: {error.strerror}") from error
    return Leftovers(sum(left.bytes for left in leftovers), leftovers, sorted(set(in_use).intersection(found)))


def _in_use(state_dir: Path) -> list[str]:
    reply = ask(state_dir, Request(1, "status"), timeout_s=_ANSWER_S)
    if reply is None or reply.status is None:
        raise Unavailable("A server works on this store and does not answer. Try again, or stop it first.")
    return reply.status.plugins


def _find(state_dir: Path, installed: Collection[str]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    owned = [(path, _owner(path.name)) for path in sorted(state_dir.iterdir())]
    with contextlib.suppress(FileNotFoundError):
        owned += [(path, path.name) for path in sorted((state_dir / DIRECTORIES).iterdir())]
    for path, plugin in owned:
        if plugin is not None and plugin not in installed:
            found.setdefault(plugin, []).append(path)
    return found


def _owner(name: str) -> str | None:
    """The plugin that a file in the state directory belongs to; None if that is none."""
    for suffix in _BESIDE:
        name = name.removesuffix(suffix)
    if name.endswith(CURSORS):
        return name.removesuffix(CURSORS)
    if name.endswith(FINISHED_BY):
        return name.removesuffix(FINISHED_BY)
    return model_named(name)


def _size(path: Path) -> int:
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    return sum(below.lstat().st_size for below in path.rglob("*") if below.is_symlink() or below.is_file())


def _remove(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        os.unlink(path)
    else:
        shutil.rmtree(path)
