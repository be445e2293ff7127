"""Checking the files that 0.4.0 and our SDK keep beside the streams: are they what their readers take them for?

Readers never fail because of such a file: a field that is no use counts as absent, a file as empty. Here both are named.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, cast

import msgspec

from runicorn.events.discovery import EVENTS_FILE, find_artifacts, find_run_parents, is_run_key
from runicorn.events.problems import BACKUP, Problem
from runicorn.events.side_schema import (
    EXPERIMENT,
    MANIFEST_FILE,
    RUN_FILES,
    VERSION_FILES,
    VERSIONS,
    VERSIONS_FILE,
    Check,
    wrong_fields,
)
from runicorn.experiment_file import METADATA_FILE
from runicorn.files import SIDE_FILE_BYTES, open_to_read, parse_json
from runicorn.run_files import LOGS_FILE, META_FILE

# They have an entry for every run, version, or file of a data set, or hold what users say of one.
_MAX_OTHER_BYTES = 1 << 30
_VERSION_NAME = re.compile(r"v[1-9][0-9]*", re.ASCII)


def verify_side_files(root: Path) -> Iterator[Problem]:
    """Everything that is wrong beside the streams. The place of a problem is the path below the root."""
    for problem in chain(_verify_runs(root), _verify_artifacts(root), _verify_experiments(root)):
        yield msgspec.structs.replace(problem, repair=BACKUP)


def _verify_experiments(root: Path) -> Iterator[Problem]:
    if os.path.lexists(root / METADATA_FILE):
        content = _read(root / METADATA_FILE)
        entries = content.items() if isinstance(content, dict) else [("", content)]
        for run_id, entry in entries:
            yield from _problems(METADATA_FILE, _fields_of(entry, EXPERIMENT), prefix=run_id and f"{run_id}: ")


def _verify_runs(root: Path) -> Iterator[Problem]:
    odd: list[Problem] = []

    def list_names(path: str) -> list[str]:
        names, problems = _subdirectories(root, path)
        odd.extend(problems)
        return names

    for parent in find_run_parents(root, list_names):
        for run_id in list_names(parent.key):
            key = f"{parent.key}/{run_id}"
            is_run = not parent.needs_meta or os.path.lexists(root / key / META_FILE)
            if is_run and is_run_key(key):
                yield from _verify_directory(root, key, RUN_FILES, (EVENTS_FILE, LOGS_FILE))
    yield from odd


def _verify_artifacts(root: Path) -> Iterator[Problem]:
    for key in find_artifacts(root):
        yield from _verify_directory(root, key, {VERSIONS_FILE: VERSIONS}, (EVENTS_FILE,))
        names, problems = _subdirectories(root, key)
        yield from problems
        versions = sorted(name for name in names if _VERSION_NAME.fullmatch(name))
        if versions:  # else it is an empty folder, and no artifact
            yield from _missing(root, key, [VERSIONS_FILE])
        for name in versions:
            yield from _verify_directory(root, f"{key}/{name}", VERSION_FILES, ())
            yield from _missing(root, f"{key}/{name}", ("metadata.json", MANIFEST_FILE))


def _missing(root: Path, key: str, files: Iterable[str]) -> Iterator[Problem]:
    for name in files:
        if not os.path.lexists(root / key / name):
            yield Problem(f"{key}/{name}", None, "missing")


def _verify_directory(
    root: Path, key: str, files: Mapping[str, Mapping[str, Check]], others: tuple[str, ...]
) -> Iterator[Problem]:
    try:
        present = set(os.listdir(root / key))
    except OSError as error:
        yield Problem(key, None, f"cannot be read: {error.strerror}")
        return
    for name in sorted(present.intersection(files)):
        yield from _problems(f"{key}/{name}", _fields_of(_read(root / key / name), files[name]))
    for name in sorted(present.intersection(others)):
        reason = _unreadable(root / key / name)
        if reason is not None:
            yield Problem(f"{key}/{name}", None, reason)


def _problems(place: str, reasons: Iterator[str], prefix: str = "") -> Iterator[Problem]:
    return (Problem(place, None, f"{prefix}{reason}") for reason in reasons)


def _fields_of(content: object, fields: Mapping[str, Check]) -> Iterator[str]:
    if isinstance(content, dict):
        yield from wrong_fields(content, fields)
    else:
        yield content if isinstance(content, str) else "not a JSON object"


def _read(path: Path) -> dict[str, Any] | str:
    """The object in a file, or what is wrong with the file."""
    reason = _unreadable(path)
    if reason is not None:
        return reason
    limit = SIDE_FILE_BYTES if path.name in RUN_FILES else _MAX_OTHER_BYTES
    try:
        with open_to_read(path) as file:
            data = file.read(limit + 1)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if len(data) > limit:
        return "too large"
    if not data.strip():
        return "empty"
    try:
        value = parse_json(data)
    except ValueError as error:
        return "nested too deeply" if "nested" in str(error) else "not JSON"
    return cast(dict[str, Any], value) if isinstance(value, dict) else "not a JSON object"


def _unreadable(path: Path) -> str | None:
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            return "not a regular file"
        open_to_read(path).close()
    except FileNotFoundError:
        return "a link to nothing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None


def _subdirectories(root: Path, path: str) -> tuple[list[str], list[Problem]]:
    """The sub-directories that readers see, and what is wrong with those that they do not see."""
    names: list[str] = []
    problems: list[Problem] = []
    try:
        with os.scandir(root / path) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                shown = entry.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
                place = f"{path}/{shown}" if path else shown
                try:
                    if shown.encode() != os.fsencode(entry.name):
                        problems.append(Problem(place, None, "the name is not UTF-8"))
                    elif entry.is_dir():
                        names.append(entry.name)
                    elif entry.is_symlink():
                        os.stat(entry.path)
                except FileNotFoundError:
                    problems.append(Problem(place, None, "a link to nothing"))
                except OSError as error:
                    problems.append(Problem(place, None, f"cannot be read: {error.strerror}"))
    except FileNotFoundError:
        pass
    except OSError as error:
        problems.append(Problem(path, None, f"cannot be read: {error.strerror}"))
    return names, problems
