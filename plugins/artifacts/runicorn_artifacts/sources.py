"""What the folders of artifacts say and their streams do not: versions, aliases, deletions and stages of 0.4.0.

Asked while nobody changes the artifact, so whatever differs from the read model was written by a program without events,
or was left by one that was killed, and is true. An observed fact has the time that the files give, unless the read model
knows something else already: then it is true since now.
"""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import cast

import apsw

from runicorn.plugin import Payload
from runicorn_artifacts.events import ArtifactObserved, VersionObserved
from runicorn_artifacts.folder import (
    INDEX_FILE,
    LIFECYCLE_FILE,
    MANIFEST_FILE,
    MARKER_FILE,
    METADATA_FILE,
    ArtifactFolder,
)
from runicorn_artifacts.lifecycle import EXPERIMENTAL
from runicorn_artifacts.naming import LATEST
from runicorn_artifacts.projections.artifact_versions import type_and_name
from runicorn_artifacts.projections.known_versions import KnownVersion, known_versions
from runicorn_artifacts.projections.version_row import VersionRow

Observed = tuple[float, Payload]

_TELLING = ("", *(f"/{file}" for file in (METADATA_FILE, MANIFEST_FILE, LIFECYCLE_FILE, MARKER_FILE)))
"""What changes when somebody changes a version: its folder and these files in it."""


class ArtifactFiles:
    """The source `artifact_files`."""

    name = "artifact_files"

    def __init__(self) -> None:
        self._stamps: dict[str, dict[int, str]] = {}
        """Of each artifact, what its versions looked like when they were read last: the others are not read again."""

    def known_artifacts(self, model: apsw.Connection) -> Iterable[str]:
        """See `runicorn.plugin.ArtifactSource`."""
        return [str(key) for (key,) in model.execute("SELECT key FROM artifact").fetchall()]

    def signature(self, root: Path, key: str) -> int | None:
        """See `runicorn.plugin.ArtifactSource`."""
        folder = root / key
        if not folder.is_dir():
            return None
        stamps = [_stamp(f"{folder}/{INDEX_FILE}"), *(f"{number}/{stamp}" for number, stamp in _versions(folder))]
        return zlib.crc32("\n".join(stamps).encode())

    def observe_artifact(self, root: Path, key: str, model: apsw.Connection) -> Sequence[Observed]:
        """See `runicorn.plugin.ArtifactSource`."""
        now = time.time()
        type, name = type_and_name(key)
        folder = ArtifactFolder(root / key, type, name)
        known = known_versions(model, key)
        stamps = dict(_versions(folder.path))
        before = self._stamps.get(key, {})
        present = set(folder.versions)
        observed: list[Observed] = []
        for version in folder.versions:
            if version not in known or stamps.get(version) != before.get(version):
                observed += _observe_version(folder, key, version, known.get(version), now)
        for version in sorted(known.keys() - present):
            gone = VersionObserved(type=type, name=name, artifact=key, version=version, record=None, observed_at=now)
            observed.append((now, gone))
        observed += _observe_index(folder, key, model, now)
        if stamps:
            self._stamps[key] = stamps
        else:
            self._stamps.pop(key, None)
        return observed


def _observe_version(
    folder: ArtifactFolder, key: str, version: int, known: KnownVersion | None, now: float
) -> Iterator[Observed]:
    record = folder.record(version)
    if record is None:
        return
    lifecycle = folder.lifecycle(version)
    deleted_at = folder.deleted_at(version)
    row = VersionRow.of(record)
    if known is not None and (
        row == known.row
        and lifecycle.stage == known.stage
        and (deleted_at is None) == (known.deleted_at is None)
        and lifecycle.updated_at == known.lived_at
    ):
        return
    yield (
        record.created_at if known is None and 0 < record.created_at <= now else now,
        VersionObserved(
            type=folder.type,
            name=folder.name,
            artifact=key,
            version=version,
            record=record,
            deleted_at=deleted_at,
            stage=lifecycle.stage if lifecycle.stage != EXPERIMENTAL else None,
            stage_changed_at=lifecycle.updated_at,
            observed_at=now,
        ),
    )


def _observe_index(folder: ArtifactFolder, key: str, model: apsw.Connection, now: float) -> Iterator[Observed]:
    rows = model.execute("SELECT created_at, updated_at FROM artifact WHERE key = ?", (key,)).fetchall()
    known = cast(list[tuple[float, float]], rows)
    if not folder.exists:
        if known:
            gone = ArtifactObserved(type=folder.type, name=folder.name, artifact=key, is_present=False, observed_at=now)
            yield now, gone
        return
    index = folder.index
    aliases = {alias: target for alias, target in index.aliases.items() if alias != LATEST}
    stored = model.execute("SELECT alias, version FROM artifact_alias WHERE key = ?", (key,)).fetchall()
    before = dict(cast(list[tuple[str, int]], stored))
    changed: dict[str, int | None] = {a: v for a, v in aliases.items() if before.get(a) != v}
    changed |= dict.fromkeys(before.keys() - aliases.keys())
    said = (index.created_at, index.updated_at)
    if known and not changed and known[0] == said:
        return
    yield (
        index.updated_at if not known and 0 < index.updated_at <= now else now,
        ArtifactObserved(
            type=folder.type,
            name=folder.name,
            artifact=key,
            is_present=True,
            aliases=changed,
            created_at=index.created_at,
            updated_at=index.updated_at,
            observed_at=now,
        ),
    )


def _versions(folder: Path) -> Iterator[tuple[int, str]]:
    """The numbered folders of an artifact, each with a text that changes with its files."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.name[:1] == "v" and entry.name[1:].isdecimal())
    except OSError:
        return
    for name in names:
        yield int(name[1:]), " ".join([_stamp(f"{folder}/{name}{file}") for file in _TELLING])


def _stamp(path: str) -> str:
    try:
        stat = os.stat(path)
    except OSError:
        return "-"
    return f"{stat.st_mtime_ns}/{stat.st_size}/{stat.st_ino}"
