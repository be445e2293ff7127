"""Finding runs and artifacts below a storage root.

Runs are `<root>/<project>/<name>/runs/<id>` and, in the legacy layout, `<root>/runs/<id>`: every directory there is a run,
even an empty one. The identity of a run is its *key*, the path below the root with `/`; the id is an attribute.
One odd or unreadable entry is skipped and reported; the scan goes on.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from runicorn.config import INTERNAL
from runicorn.fields import text
from runicorn.run_files import META_FILE

logger = logging.getLogger("runicorn.events")

EVENTS_FILE = "events.jsonl"

_NEVER_PROJECTS = frozenset({"runs", "webui"})
_ARTIFACTS = "artifacts"


class RunDirectory(msgspec.Struct, frozen=True):
    """Where one run is. `project` and `name` are directory names; None in the legacy layout."""

    key: str
    project: str | None
    name: str | None
    run_id: str

    def names(self, project: object, name: object) -> tuple[str | None, str | None]:
        """Project and name that lists show: those given by `meta.json` if they are texts, else those of the directories."""
        return text(project) or self.project, text(name) or self.name


class RunParent(msgspec.Struct, frozen=True):
    """A directory whose sub-directories are runs (`…/runs`)."""

    key: str
    project: str | None
    name: str | None
    needs_meta: bool
    """True below `artifacts` and dot-directories, where a directory is a run only if it holds `meta.json`."""


def find_runs(root: Path) -> Iterator[RunDirectory]:
    """Every run directory below `root`, in no particular order."""
    for parent in find_run_parents(root):
        yield from runs_in(root, parent)


def find_run_parents(root: Path, list_names: Callable[[str], list[str]] | None = None) -> Iterator[RunParent]:
    """The directories in which runs are, or will appear; the legacy one first.

    `list_names` gives the sub-directories of a path below the root, for callers that remember them.
    """
    list_names = list_names or (lambda path: subdirectories(root / path))
    yield RunParent("runs", None, None, needs_meta=False)
    for project in list_names(""):
        if project in _NEVER_PROJECTS or project.startswith(INTERNAL):
            continue
        needs_meta = project == _ARTIFACTS or project.startswith(".")
        for name in list_names(project):
            yield RunParent(f"{project}/{name}/runs", project, name, needs_meta)


def runs_in(root: Path, parent: RunParent) -> Iterator[RunDirectory]:
    """The runs in one parent directory; none if it does not exist."""
    for run_id in subdirectories(root / parent.key):
        key = f"{parent.key}/{run_id}"
        if not parent.needs_meta or os.path.exists(root / key / META_FILE):
            yield RunDirectory(key, parent.project, parent.name, run_id)


def run_at(key: str) -> RunDirectory:
    """The run directory that a key names."""
    parts = key.split("/")
    if len(parts) == 2:
        return RunDirectory(key, None, None, parts[1])
    project, name, _, run_id = parts
    return RunDirectory(key, project, name, run_id)


def is_run_key(key: str) -> bool:
    """Whether a path below the root has the form of a run's key."""
    parts = key.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return False
    if len(parts) == 2:
        return parts[0] == "runs"
    return (
        len(parts) == 4 and parts[2] == "runs" and parts[0] not in _NEVER_PROJECTS and not parts[0].startswith(INTERNAL)
    )


def find_artifacts(root: Path) -> Iterator[str]:
    """Keys of all artifact directories, `artifacts/<type>/<name>`."""
    base = root / _ARTIFACTS
    for kind in subdirectories(base):
        if not kind.startswith("."):
            for name in subdirectories(base / kind):
                if not name.startswith("."):
                    yield f"{_ARTIFACTS}/{kind}/{name}"


def is_artifact_key(key: str) -> bool:
    """Whether a path below the root has the form of an artifact's key, `artifacts/<type>/<name>`."""
    parts = key.split("/")
    return len(parts) == 3 and parts[0] == _ARTIFACTS and all(part and not part.startswith(".") for part in parts)


def subdirectories(path: Path | str) -> list[str]:
    """Names of the directories (and links to directories) in `path`; empty if it is missing or not readable."""
    found: list[str] = []
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                try:
                    if not entry.is_dir():
                        continue
                    entry.name.encode()
                except (OSError, UnicodeEncodeError):
                    logger.warning("skipped an unreadable entry of %s: %r", path, entry.name)
                else:
                    found.append(entry.name)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        logger.warning("skipped the unreadable directory %s: %s", path, error.strerror)
    return found
