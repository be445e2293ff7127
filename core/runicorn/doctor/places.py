"""The storage root and the state directory: there, writable, of one another, with room, and with the right time."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from runicorn.config import INTERNAL
from runicorn.doctor.finding import Finding
from runicorn.events.log import FileLog, LocatedEvent
from runicorn.root import RootUnusable, check_belongs

_LITTLE = 1 << 30
_TOO_LITTLE = 64 << 20
_CLOCK_S = 2.0


def root_is_usable(root: Path, state_dir: Path) -> Finding:
    """Whether the root can be read, and written."""
    if not root.exists():
        if _can_write(_existing(root)):
            return Finding("root", "ok", f"{root} does not exist yet; the first run makes it")
        return Finding("root", "problem", f"{root} cannot be made", "Choose another place: --storage or RUNICORN_DIR.")
    if not root.is_dir() or not os.access(root, os.R_OK | os.X_OK):
        return Finding("root", "problem", f"{root} cannot be read", "Give this user the right to read it.")
    if _can_write(root):
        return Finding("root", "ok", f"{root} can be written")
    if state_dir == root / INTERNAL / "state":
        advice = "Give this user the right to write it, or serve it read-only with --state-dir."
        return Finding("root", "problem", f"{root} cannot be written", advice)
    return Finding(
        "root", "warning", f"{root} is read-only: commands are recorded in the state directory", "Back it up."
    )


def state_is_usable(root: Path, state_dir: Path) -> Finding:
    """Whether the state directory can be written, and is this root's."""
    from runicorn.projection.watching import needs_polling

    try:
        check_belongs(root, state_dir)
    except RootUnusable as error:
        return Finding("state", "problem", str(error), "Choose another with --state-dir.")
    if not _can_write(_existing(state_dir)):
        return Finding("state", "problem", f"{state_dir} cannot be written", "Choose another with --state-dir.")
    if needs_polling(_existing(state_dir)):
        advice = "Put it on a local disk with --state-dir: SQLite's shared memory does not work over a network."
        return Finding("state", "problem", f"{state_dir} is on a network file system", advice)
    return Finding("state", "ok", f"{state_dir} can be written")


def has_room(name: str, directory: Path) -> Finding:
    """How much room there is where a directory is, or will be."""
    free = shutil.disk_usage(_existing(directory)).free
    text = f"{free / (1 << 30):.1f} GiB free at {directory}"
    advice = "Make room, or move to a larger disk. `runicorn state --compact` gives free pages back."
    if free < _TOO_LITTLE:
        return Finding(name, "problem", text, advice)
    return Finding(name, "warning", text, advice) if free < _LITTLE else Finding(name, "ok", text)


def clock_is_right(root: Path, state_dir: Path) -> Finding:
    """Whether this machine's clock agrees with that of the file system, and with what the log says already."""
    advice = "Synchronise the clocks (NTP): runs are ordered by time, and liveness is judged by it."
    directory = _existing(root)
    if _can_write(directory):
        with tempfile.TemporaryFile(dir=directory) as file:
            before = time.time()
            os.utime(file.fileno())
            difference = os.fstat(file.fileno()).st_mtime - before
        if abs(difference) > _CLOCK_S:
            return Finding("clock", "warning", f"the file system's clock differs by {difference:+.0f} s", advice)
    ahead = max((event.event.ts for event in _last_commands(root, state_dir)), default=0.0) - time.time()
    if ahead > _CLOCK_S:
        return Finding("clock", "warning", f"the log has commands from {ahead:.0f} s ahead of this clock", advice)
    return Finding("clock", "ok", "agrees with the file system and with the log")


def _last_commands(root: Path, state_dir: Path) -> Iterator[LocatedEvent]:
    log = FileLog(root, state_dir)
    for stream in log.store_streams():
        end = log.complete_end(stream)
        yield from log.read_range(stream, log.line_start(stream, end - (64 << 10)), end)


def _existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _can_write(directory: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=directory):  # it has no name: nobody sees it come and go
            return True
    except OSError:
        return False
