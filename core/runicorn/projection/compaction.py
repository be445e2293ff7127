"""Read model files written anew without free pages. Like a rebuild, the copy takes over as the next generation."""

from __future__ import annotations

import os
from pathlib import Path

import apsw
import msgspec

from runicorn.errors import StorageUnavailable
from runicorn.projection.generations import FINISHED_BY, ModelFile, is_ready, model_files, path_after
from runicorn.projection.model import DAMAGE, STORAGE_ERRORS
from runicorn.projection.rebuild import alone, publish
from runicorn.projection.state_files import describe_state


class Compacted(msgspec.Struct, frozen=True):
    """What a compaction did."""

    bytes_before: int
    bytes_after: int
    plugins: list[str]


def compact(state_dir: Path) -> Compacted:
    """Copy the newest ready file of every plugin, and have the copies used, by a server that runs, too.

    Needs as much free disk as the files take. Unavailable while read models are built, StorageUnavailable if the disk does
    not do; then the files that serve are as they were.
    """
    if not state_dir.is_dir():
        return Compacted(0, 0, [])
    try:
        with alone(state_dir):
            before = sum(model.bytes for model in describe_state(state_dir).models)
            building: dict[Path, Path] = {}
            try:
                for file in _newest_files(state_dir):
                    copy = state_dir / f"{file.plugin}{FINISHED_BY}"
                    copy.unlink(missing_ok=True)
                    _copy(file.path, copy)
                    building[copy] = path_after(state_dir, file)
                publish(state_dir, building)
            finally:
                for path in building:
                    path.unlink(missing_ok=True)
            after = sum(model.bytes for model in describe_state(state_dir).models)
    except (OSError, *STORAGE_ERRORS, *DAMAGE) as error:
        raise StorageUnavailable("The read models cannot be copied: is there room on the disk?") from error
    return Compacted(before, after, sorted(path.name.removesuffix(FINISHED_BY) for path in building))


def _newest_files(state_dir: Path) -> list[ModelFile]:
    """Of every plugin the file that serves. Files of other versions of it are left alone: they go by themselves."""
    plugins = {file.plugin for file in model_files(state_dir)}
    ready = ([file for file in model_files(state_dir, plugin) if is_ready(file.path)] for plugin in sorted(plugins))
    return [max(files, key=lambda file: file.path.stat().st_mtime) for files in ready if files]


def _copy(path: Path, target: Path) -> None:
    connection = apsw.Connection(os.fspath(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        connection.set_busy_timeout(5000)
        connection.execute("VACUUM INTO ?", (os.fspath(target),)).fetchall()
    finally:
        connection.close()
    copy = apsw.Connection(os.fspath(target))
    try:
        copy.execute("PRAGMA journal_mode=wal").fetchall()
        # Its counters go their own way from here: ETags of the old file must not match.
        copy.execute("UPDATE meta SET value = ? WHERE key = 'build'", (os.urandom(6).hex(),))
    finally:
        copy.close()
