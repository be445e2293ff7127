"""How a staged version becomes a version: under the artifact's lock it gets its number, and is moved to its place.

There is one way in, whether the content comes from Python, from the command line or over HTTP.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from runicorn.plugin import as_file, replace_file
from runicorn_artifacts.changing import changing
from runicorn_artifacts.errors import VersionExists
from runicorn_artifacts.events import VersionCreated, VersionRecord
from runicorn_artifacts.folder import MANIFEST_FILE, METADATA_FILE, ArtifactFolder
from runicorn_artifacts.index import ArtifactVersionInfo
from runicorn_artifacts.json_values import finite
from runicorn_artifacts.manifest import ArtifactManifest, FileEntry, ReferenceEntry
from runicorn_artifacts.metadata import ArtifactMetadata
from runicorn_artifacts.naming import LATEST


class Described(Protocol):
    """What is said of a version besides its content."""

    @property
    def description(self) -> str:
        """What it is."""
        ...

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Anything that is known of it, as JSON has it."""
        ...

    @property
    def tags(self) -> Sequence[str]:
        """In order."""
        ...


Numbered = Callable[[int, str], None]
"""Hears which number a version gets, and the digest of its manifest, just before it is moved to its place."""


def commit_version(
    place: ArtifactFolder,
    staged: Path,
    described: Described,
    files: list[FileEntry],
    references: list[ReferenceEntry],
    *,
    run_id: str,
    user: str | None = None,
    aliases: Sequence[str] = (),
    numbered: Numbered = lambda number, digest: None,
) -> tuple[ArtifactMetadata, ArtifactManifest]:
    """Give a staged version its number, and move it to its place, with aliases that point to it from then on.

    `staged` has the files below `files`, all of them on disk. VersionExists where a foreign folder has the place;
    ArtifactLocked; OSError as it comes. If it raises, there is no such version. Returned is what is stored of it.
    """
    place.path.mkdir(parents=True, exist_ok=True)
    with changing(place, only_adds=True) as change:
        number = change.next_version()
        target = change.folder.version_path(number)
        if os.path.lexists(target):
            raise VersionExists(place.name, number)
        manifest = ArtifactManifest.of(files, references, change.ts)
        manifest_bytes = as_file(finite(manifest.to_dict()))
        metadata = ArtifactMetadata(
            name=place.name,
            type=place.type,
            version=number,
            created_at=change.ts,
            updated_at=change.ts,
            created_by_run=run_id,
            created_by_user=user,
            size_bytes=manifest.total_size,
            num_files=manifest.total_files,
            num_references=manifest.total_references,
            metadata=finite(dict(described.metadata)),
            description=described.description,
            tags=list(described.tags),
            aliases=[LATEST],
            manifest_digest=hashlib.sha256(manifest_bytes).hexdigest(),
        )
        replace_file(staged / MANIFEST_FILE, manifest_bytes, fsync=True)
        replace_file(staged / METADATA_FILE, as_file(finite(metadata.to_dict())), fsync=True)
        record = VersionRecord.of(metadata, manifest)
        numbered(number, metadata.manifest_digest or "")
        os.rename(staged, target)
        try:
            aliased = [event for alias in aliases for event in change.alias(alias, number)]
            change.append(VersionCreated(type=place.type, name=place.name, version=number, record=record), *aliased)
        except OSError:
            with contextlib.suppress(OSError):
                os.rename(target, staged)  # not recorded: not saved
            raise
        if not change.index.versions and not change.index.created_at:
            change.index.created_at = change.ts
        change.index.put(ArtifactVersionInfo.from_dict(metadata.to_dict()))
        change.index.next_version = number + 1
        change.commit()
    return metadata, manifest
