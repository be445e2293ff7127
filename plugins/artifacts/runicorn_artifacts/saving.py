"""How a staged version becomes a version: under the artifact's lock it gets its number, and is moved to its place.

There is one way in, whether the content comes from Python, from the command line or over HTTP.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from runicorn.plugin import as_file, replace_file, text
from runicorn_artifacts.changing import changing
from runicorn_artifacts.errors import VersionExists
from runicorn_artifacts.events import VersionCreated, VersionRecord
from runicorn_artifacts.folder import MANIFEST_FILE, METADATA_FILE, ArtifactFolder
from runicorn_artifacts.index import ArtifactVersionInfo
from runicorn_artifacts.json_values import stored_json, stored_metadata
from runicorn_artifacts.manifest import ArtifactManifest, FileEntry, ReferenceEntry
from runicorn_artifacts.metadata import ArtifactMetadata
from runicorn_artifacts.naming import LATEST

Stored = tuple[ArtifactMetadata, ArtifactManifest]
"""What is on disk of a version."""


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


class Description(msgspec.Struct, frozen=True):
    """What is said of a version besides its content, as JSON stores it."""

    description: str
    metadata: dict[str, Any]
    tags: list[str]

    @classmethod
    def of(cls, said: Described) -> Description:
        """TypeError, naming the key, for metadata that JSON cannot store."""
        texts = stored_json([said.description, *said.tags])
        description, *tags = [text(item) or "" for item in texts]
        return cls(description, stored_metadata(said.metadata), tags)


class Staged(msgspec.Struct, frozen=True, kw_only=True):
    """A version that has all but its number. What it is made of is on disk, and was checked."""

    path: Path
    """Its folder, with the files below `files`; it is moved away."""
    files: list[FileEntry]
    references: list[ReferenceEntry]
    described: Description
    run_id: str
    """The run that made it; empty if none has."""
    user: str | None = None
    aliases: Sequence[str] = ()
    """Those that point to it from then on."""
    receipt: Path | None = None
    """A file that gets to know which version it becomes (`Made`), just before it does."""


class Made(msgspec.Struct, frozen=True):
    """Which version something has become, if that version has a manifest of this digest."""

    version: int
    manifest_digest: str


def commit_version(place: ArtifactFolder, staged: Staged) -> Stored:
    """Give a staged version its number, and move it to its place; what is stored of it.

    VersionExists where a foreign folder has the place; ArtifactLocked; OSError as it comes. If it raises, there is no such
    version.
    """
    place.path.mkdir(parents=True, exist_ok=True)
    with changing(place, only_adds=True) as change:
        number = change.next_version()
        target = change.folder.version_path(number)
        if os.path.lexists(target):
            raise VersionExists(place.name, number)
        manifest = ArtifactManifest.of(staged.files, staged.references, change.ts)
        manifest_bytes = as_file(manifest.to_dict())
        digest = hashlib.sha256(manifest_bytes).hexdigest()
        metadata = ArtifactMetadata(
            name=place.name,
            type=place.type,
            version=number,
            created_at=change.ts,
            updated_at=change.ts,
            created_by_run=staged.run_id,
            created_by_user=staged.user,
            size_bytes=manifest.total_size,
            num_files=manifest.total_files,
            num_references=manifest.total_references,
            metadata=staged.described.metadata,
            description=staged.described.description,
            tags=staged.described.tags,
            aliases=[LATEST],
            manifest_digest=digest,
        )
        replace_file(staged.path / MANIFEST_FILE, manifest_bytes, fsync=True)
        replace_file(staged.path / METADATA_FILE, as_file(metadata.to_dict()), fsync=True)
        if staged.receipt is not None:
            replace_file(staged.receipt, msgspec.json.encode(Made(number, digest)), fsync=True)
        record = VersionRecord.of(metadata, manifest)
        change.move(staged.path, target)
        change.tell(VersionCreated(type=place.type, name=place.name, version=number, record=record))
        for alias in staged.aliases:
            change.alias(alias, number)
        if not change.index.versions and not change.index.created_at:
            change.index.created_at = change.ts
        change.index.put(ArtifactVersionInfo.from_dict(metadata.to_dict()))
        change.index.next_version = number + 1
    return metadata, manifest
