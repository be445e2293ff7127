"""Finding runs and artifacts below a storage root.

Runs are `<root>/<project>/<name>/runs/<id>` and, in the legacy layout, `<root>/runs/<id>`: every directory there is a run,
even an empty one. The identity of a run is its *key*, the path below the root with `/`; the id is an attribute.
One odd or unreadable entry is skipped and reported; the scan goes on.

*Foreign trees* hold runs of other machines that are not in their place here, laid out like a root of their own:
`.mirrors/<source>/tree` what a mirror found taken, `.mirrors/<source>/attached` the cache of a server as long as it is
looked at. Runs in them have keys with that prefix. Of the same id, a run in its place is meant.
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

_MOST_WARNED = 10_000
_warned: set[tuple[object, ...]] = set()

EVENTS_FILE = "events.jsonl"

MIRRORS = ".mirrors"
"""Below the root: what mirrors keep; never a project."""

TREE = "tree"
ATTACHED = "attached"

_NEVER_PROJECTS = frozenset({"runs", "webui", MIRRORS})
_FOREIGN_SEGMENTS = 3
_ARTIFACTS = "artifacts"


class RunDirectory(msgspec.Struct, frozen=True):
    """Where one run is. `project` and `name` are directory names; None in the legacy layout."""

    key: str
    project: str | None
    name: str | None
    run_id: str

    @property
    def is_foreign(self) -> bool:
        """Whether it is in a foreign tree: of the same id, a run in its place is meant."""
        return self.key.startswith(f"{MIRRORS}/")

    @property
    def is_read_only(self) -> bool:
        """Whether it belongs to a server, and what is here is its cache."""
        return is_attached(self.key)

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


def find_runs(root: Path, *, foreign: bool = False) -> Iterator[RunDirectory]:
    """Every run directory below `root`, in no particular order; `foreign`: those of foreign trees, too."""
    for parent in find_run_parents(root):
        if foreign or not parent.key.startswith(f"{MIRRORS}/"):
            yield from runs_in(root, parent)


def find_run_parents(root: Path, list_names: Callable[[str], list[str]] | None = None) -> Iterator[RunParent]:
    """The directories in which runs are, or will appear; the legacy one first.

    `list_names` gives the sub-directories of a path below the root, for callers that remember them.
    """
    list_names = list_names or (lambda path: subdirectories(root / path))
    yield from _parents_in("", list_names)
    for source in list_names(MIRRORS):
        for tree in list_names(f"{MIRRORS}/{source}"):
            if tree in (TREE, ATTACHED):
                yield from _parents_in(f"{MIRRORS}/{source}/{tree}/", list_names)


def _parents_in(tree: str, list_names: Callable[[str], list[str]]) -> Iterator[RunParent]:
    yield RunParent(f"{tree}runs", None, None, needs_meta=False)
    for project in list_names(tree.removesuffix("/")):
        if project in _NEVER_PROJECTS or project.startswith(INTERNAL):
            continue
        needs_meta = project == _ARTIFACTS or project.startswith(".")
        for name in list_names(f"{tree}{project}"):
            yield RunParent(f"{tree}{project}/{name}/runs", project, name, needs_meta)


def runs_in(root: Path, parent: RunParent) -> Iterator[RunDirectory]:
    """The runs in one parent directory; none if it does not exist."""
    # Sorted, so that neighbours are neighbours in read models, too: their tables and indexes grow at the end.
    for run_id in sorted(subdirectories(root / parent.key)):
        key = f"{parent.key}/{run_id}"
        if not parent.needs_meta or os.path.exists(root / key / META_FILE):
            yield RunDirectory(key, parent.project, parent.name, run_id)


def run_at(key: str) -> RunDirectory:
    """The run directory that a key names."""
    parts = _local_parts(key)
    if len(parts) == 2:
        return RunDirectory(key, None, None, parts[1])
    project, name, _, run_id = parts
    return RunDirectory(key, project, name, run_id)


def is_run_key(key: str) -> bool:
    """Whether a path below the root has the form of a run's key."""
    parts = _local_parts(key)
    if any(part in ("", ".", "..") for part in parts):
        return False
    if len(parts) == 2:
        return parts[0] == "runs"
    return (
        len(parts) == 4 and parts[2] == "runs" and parts[0] not in _NEVER_PROJECTS and not parts[0].startswith(INTERNAL)
    )


def is_attached(key: str) -> bool:
    """Whether a run's key leads into the cache of a server."""
    parts = key.split("/", _FOREIGN_SEGMENTS)
    return len(parts) > _FOREIGN_SEGMENTS and parts[0] == MIRRORS and parts[2] == ATTACHED


def _local_parts(key: str) -> list[str]:
    """The segments of a key below the root, or below its foreign tree."""
    parts = key.split("/")
    if parts[0] != MIRRORS:
        return parts
    is_tree = len(parts) > _FOREIGN_SEGMENTS and parts[1] not in ("", ".", "..") and parts[2] in (TREE, ATTACHED)
    return parts[_FOREIGN_SEGMENTS:] if is_tree else parts


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
                except (OSError, UnicodeEncodeError) as error:
                    reason = "its name is not UTF-8" if isinstance(error, UnicodeEncodeError) else error.strerror
                    _warn_once("skipped %s in %s: %s", repr(entry.name), path, reason)
                else:
                    found.append(entry.name)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        _warn_once("skipped the unreadable directory %s: %s", path, error.strerror)
    return found


def _warn_once(text: str, *values: object) -> None:
    """Warn, once per process: directories are listed again and again."""
    said = (text, *values)
    if said not in _warned:
        if len(_warned) >= _MOST_WARNED:
            _warned.clear()
        _warned.add(said)
        logger.warning(text, *values)
