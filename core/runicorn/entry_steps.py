"""How `.experiments_metadata.json` became what it is: the last changes by our own writers, in `.runicorn/entries.json`.

The file holds everything that people say about all runs, and one tag replaces it as a whole. Each step says which file was
replaced by which, and the entries in which they differ: who knows the one, and finds the other, looks at those entries alone.
Whoever else writes the file (0.4.0, an editor) leaves no step, and is noticed by that. A step is noted before its file
appears; one whose file never did leads nowhere.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection
from pathlib import Path

import msgspec

from runicorn.config import INTERNAL
from runicorn.files import read_json_object, replace_file

_FILE = "entries.json"
_MOST_STEPS = 64
_MOST_ENTRIES = 1000

Stamp = tuple[int, int, int]
"""Of a file: modification time in nanoseconds, size, inode; it is another one for every file that takes its place."""

NO_FILE: Stamp = (0, 0, 0)


class Step(msgspec.Struct, frozen=True, array_like=True):
    """One change by one of our writers."""

    before: Stamp
    after: Stamp
    run_ids: list[str]


def stamp_of(stat: os.stat_result) -> Stamp:
    """The stamp of a file."""
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def is_ours(root: Path, stamp: Stamp) -> bool:
    """Whether the file with this stamp was written by us as a whole."""
    return any(step.after == stamp for step in _steps(root))


def changed_between(root: Path, before: Stamp, after: Stamp) -> set[str] | None:
    """The ids of the entries in which two files differ; None if that is not known."""
    run_ids: set[str] = set()
    for step in reversed(_steps(root)):
        if step.after == after:
            run_ids.update(step.run_ids)
            after = step.before
            if after == before:
                return run_ids
    return None


def note_step(root: Path, before: Stamp, after: Stamp, run_ids: Collection[str]) -> None:
    """Say that the file `before` is about to be replaced by `after`. By whoever holds the lock of the file."""
    steps = [step for step in _steps(root) if len(step.run_ids) <= _MOST_ENTRIES][1 - _MOST_STEPS :]
    if len(run_ids) <= _MOST_ENTRIES:
        steps.append(Step(before, after, sorted(run_ids)))
    with contextlib.suppress(OSError):  # without it, all is read
        os.makedirs(root / INTERNAL, exist_ok=True)
        replace_file(root / INTERNAL / _FILE, msgspec.json.encode({"steps": steps}))


def _steps(root: Path) -> list[Step]:
    try:
        return msgspec.convert((read_json_object(root / INTERNAL / _FILE) or {}).get("steps", []), list[Step])
    except msgspec.ValidationError:
        return []
