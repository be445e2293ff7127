"""The files of read models in a state directory: which there are, which one serves, which are superseded.

A file is named `<plugin>-<fingerprint>-<generation>.db`. The fingerprint stands for the names, versions and schemas of
the projections, so two versions of a plugin never share a file. A new generation is built beside the one that serves
and takes over once it is *ready*; what it supersedes is removed then.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

import apsw
import msgspec

from runicorn.projection.base import Projection

_NAME = re.compile(r"(?P<plugin>.+)-(?P<fingerprint>[0-9a-f]{12})-(?P<generation>[0-9]{6})\.db", re.DOTALL)
_LOOKS = 3
_BUSY_TIMEOUT_MS = 1000
FINISHED_BY = ".building"
"""Suffix of a file that nobody reads yet: worthless after a crash."""
_KEEP_OTHERS_S = 86400.0
_DAMAGED = ".damaged"

FRAMEWORK_SCHEMA = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE counter(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE stream(
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,
    offset INTEGER NOT NULL DEFAULT 0,   -- the checkpoint: applied up to here
    size INTEGER NOT NULL DEFAULT 0,     -- the stream's size when it was last looked at (a torn tail is beyond offset)
    inode INTEGER NOT NULL DEFAULT 0,
    modified INTEGER NOT NULL DEFAULT 0, -- modification time of the file in nanoseconds, 0 while more is left to apply
    head BLOB NOT NULL DEFAULT x'',      -- the first bytes, to notice a replaced stream
    checksum INTEGER NOT NULL DEFAULT 0, -- CRC-32 of the bytes up to offset, to notice one that was edited in place
    bad INTEGER NOT NULL DEFAULT 0,      -- lines that were not events
    moved INTEGER NOT NULL DEFAULT 0);   -- number of the checkpoint's last move, counted over all streams of this file
CREATE INDEX stream_moved ON stream(moved);
"""
"""The tables that every read model has."""


class ModelFile(msgspec.Struct, frozen=True):
    """The name of a read model file, taken apart."""

    path: Path
    plugin: str
    fingerprint: str
    generation: int


def fingerprint(projections: Sequence[Projection]) -> str:
    """12 hex digits for the names, versions and schemas of `projections` and for the framework's own tables."""
    text = "\0".join(f"{p.name}\0{p.version}\0{p.schema}" for p in sorted(projections, key=lambda p: p.name))
    return hashlib.sha256(f"{FRAMEWORK_SCHEMA}\0{text}".encode()).hexdigest()[:12]


def named(path: Path) -> ModelFile | None:
    """What the name of a read model file says; None if it is the name of something else."""
    match = _NAME.fullmatch(path.name)
    return match and ModelFile(path, match["plugin"], match["fingerprint"], int(match["generation"]))


def model_named(name: str) -> str | None:
    """The plugin whose read model has this name, or had it before it was set aside as damaged; None for other names."""
    file = named(Path(name.removesuffix(_DAMAGED) + ".db")) if name.endswith(_DAMAGED) else named(Path(name))
    return file and file.plugin


def model_files(state_dir: Path, plugin: str | None = None) -> list[ModelFile]:
    """The files of a plugin (None: of all) in the state directory, newest generation first."""
    found: list[ModelFile] = []
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(state_dir):
            file = named(state_dir / name)
            if file is not None and plugin in (None, file.plugin):
                found.append(file)
    return sorted(found, key=lambda file: file.generation, reverse=True)


def newest(state_dir: Path, plugin: str, own: str, *, waits: bool = True) -> Path | None:
    """The newest ready file with the fingerprint `own`, else the newest unfinished one, else None.

    A file that stays locked for a second counts as unfinished; apsw.BusyError at once if not `waits`.
    """
    for _ in range(_LOOKS):
        files = [file.path for file in model_files(state_dir, plugin) if file.fingerprint == own]
        ready = next((path for path in files if is_ready(path, waits=waits)), None)
        # A listing is not of one moment: while a new file takes over it may hold neither the new one nor the old one.
        if ready is not None or (files and all(path.exists() for path in files)):
            return ready or files[0]
    return None


def next_path(state_dir: Path, plugin: str, projections: Sequence[Projection]) -> Path:
    """The path of a new generation."""
    generation = max((file.generation for file in model_files(state_dir, plugin)), default=0) + 1
    return state_dir / f"{plugin}-{fingerprint(projections)}-{generation:06d}.db"


def path_after(state_dir: Path, file: ModelFile) -> Path:
    """The path of a new generation for the same projections."""
    generation = max((other.generation for other in model_files(state_dir, file.plugin)), default=0) + 1
    return state_dir / f"{file.plugin}-{file.fingerprint}-{generation:06d}.db"


def is_ready(path: Path, *, waits: bool = True) -> bool:
    """Whether a file holds a complete build; False for one that is unfinished, not readable, or locked for a second.

    apsw.BusyError at once if it is locked and not `waits`.
    """
    try:
        connection = apsw.Connection(os.fspath(path), flags=apsw.SQLITE_OPEN_READONLY)
    except apsw.Error:
        return False
    try:
        connection.set_busy_timeout(_BUSY_TIMEOUT_MS if waits else 0)
        rows = connection.execute("SELECT value FROM meta WHERE key = 'ready'").fetchall()
        return bool(rows and rows[0][0])
    except apsw.BusyError:
        if waits:
            return False
        raise
    except apsw.Error:
        return False
    finally:
        connection.close()


def remove_superseded(state_dir: Path, current: Path) -> list[Path]:
    """Remove what the ready file `current` supersedes; what was removed.

    Older generations with its fingerprint go at once: readers that have one open go on with it, and the next opening
    finds `current`. Files of other versions of the plugin go when nothing was written to them for a day: until then an
    older server may still read them, and going back to that version costs no replay.
    """
    own = _NAME.fullmatch(current.name)
    assert own is not None, current
    removed: list[Path] = []
    for file in model_files(state_dir, own["plugin"]):
        if file.fingerprint == own["fingerprint"]:
            is_superseded = file.generation < int(own["generation"])
        else:
            is_superseded = time.time() - _last_written(file.path) > _KEEP_OTHERS_S
        if is_superseded:
            remove_file(file.path)
            removed.append(file.path)
    return removed


def set_aside(path: Path) -> None:
    """Rename a damaged file to `*.damaged`, for whoever wants to look at it. Nobody may have it open for writing."""
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    with contextlib.suppress(FileNotFoundError):
        path.replace(path.with_suffix(_DAMAGED))


def remove_file(path: Path) -> None:
    """Remove a read model file with its WAL."""
    # The database first: whoever opened it without its WAL would read an old state of it.
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _last_written(path: Path) -> float:
    times = [0.0]
    for name in (path.name, f"{path.name}-wal"):
        with contextlib.suppress(OSError):
            times.append(os.stat(path.with_name(name)).st_mtime)
    return max(times)
