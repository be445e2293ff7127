"""What changed from one version of an artifact to another. For threads: it reads manifests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from runicorn_artifacts.folder import ArtifactFolder, Status
from runicorn_artifacts.manifest import FileEntry
from runicorn_artifacts.metadata import ArtifactMetadata


class ComparedVersion(msgspec.Struct, frozen=True):
    """One of the two versions."""

    version: int
    status: Status
    created_at: float
    created_by_run: str
    size_bytes: int
    num_files: int


class ListedFile(msgspec.Struct, frozen=True):
    """A file that only one of the versions has."""

    path: str
    size: int
    digest: str


class ChangedFile(msgspec.Struct, frozen=True):
    """A file that both have, with another content."""

    path: str
    from_size: int
    to_size: int
    from_digest: str
    to_digest: str


class FileChanges(msgspec.Struct, frozen=True):
    """The files, by path. The bytes are those that somebody with the first version lacks, and has too many."""

    added: list[ListedFile]
    removed: list[ListedFile]
    changed: list[ChangedFile]
    unchanged: int
    bytes_new: int
    bytes_gone: int


class ReferenceChanges(msgspec.Struct, frozen=True):
    """URIs; changed are those with another checksum or size."""

    added: list[str]
    removed: list[str]
    changed: list[str]


class ValueChange(msgspec.Struct, frozen=True, rename={"before": "from", "after": "to"}):
    """A value in both versions."""

    before: Any
    after: Any


class MetadataChanges(msgspec.Struct, frozen=True):
    """The user's metadata by key, with `description` and `tags`, where they changed, beside it."""

    added: dict[str, Any]
    removed: dict[str, Any]
    changed: dict[str, ValueChange]
    description: ValueChange | None
    tags: ValueChange | None


class VersionDiff(msgspec.Struct, frozen=True, rename={"before": "from", "after": "to"}):
    """The answer of `GET /api/artifacts/{name}/diff`."""

    artifact: str
    type: str
    before: ComparedVersion
    after: ComparedVersion
    same_content: bool
    files: FileChanges
    references: ReferenceChanges
    metadata: MetadataChanges


class _Side(msgspec.Struct, frozen=True):
    """What is compared of one version."""

    shown: ComparedVersion
    files: dict[str, FileEntry]
    references: dict[str, tuple[str | None, int | None]]
    metadata: ArtifactMetadata

    @classmethod
    def of(cls, folder: ArtifactFolder, version: int) -> _Side:
        """UnreadableManifest, if nobody knows what it consists of."""
        manifest = folder.saved_manifest(version)
        return cls(
            _compared(folder, version),
            {entry.path: entry for entry in manifest.files},
            {r.uri: (r.checksum, r.size) for r in manifest.references},
            ArtifactMetadata.from_dict(folder.metadata(version) or {}),
        )


def compare(folder: ArtifactFolder, before: int, after: int, other: ArtifactFolder | None = None) -> VersionDiff:
    """From version `before` of an artifact to version `after` of it, or of the `other` artifact.

    UnreadableManifest, if nobody knows what one of them consists of.
    """
    other = folder if other is None else other
    one, two = _Side.of(folder, before), _Side.of(other, after)
    files, references = _files(one.files, two.files), _references(one.references, two.references)
    is_same = not any((files.added, files.removed, files.changed, *msgspec.structs.astuple(references)))
    old, new = one.metadata, two.metadata
    metadata = MetadataChanges(
        added={key: value for key, value in new.metadata.items() if key not in old.metadata},
        removed={key: value for key, value in old.metadata.items() if key not in new.metadata},
        changed=_changed(old.metadata, new.metadata),
        description=_change(old.description, new.description),
        tags=_change(old.tags, new.tags),
    )
    return VersionDiff(
        artifact=folder.name if folder.path == other.path else f"{folder.name} → {other.name}",
        type=folder.type,
        before=one.shown,
        after=two.shown,
        same_content=is_same,
        files=files,
        references=references,
        metadata=metadata,
    )


def _compared(folder: ArtifactFolder, version: int) -> ComparedVersion:
    record = folder.record(version)
    status = folder.status(version)
    if record is None:  # removed a moment ago
        return ComparedVersion(version, status, 0.0, "", 0, 0)
    return ComparedVersion(
        version, status, record.created_at, record.created_by_run, record.size_bytes, record.num_files
    )


def _files(one: Mapping[str, FileEntry], two: Mapping[str, FileEntry]) -> FileChanges:
    kept = [(one[path], entry) for path, entry in two.items() if path in one]
    changed = [(old, new) for old, new in kept if (old.size, old.sha256) != (new.size, new.sha256)]
    contents = [{entry.sha256: entry.size for entry in side.values()} for side in (one, two)]
    return FileChanges(
        added=[ListedFile(e.path, e.size, e.digest) for path, e in sorted(two.items()) if path not in one],
        removed=[ListedFile(e.path, e.size, e.digest) for path, e in sorted(one.items()) if path not in two],
        changed=[
            ChangedFile(new.path, old.size, new.size, old.digest, new.digest)
            for old, new in sorted(changed, key=lambda pair: pair[1].path)
        ],
        unchanged=len(kept) - len(changed),
        bytes_new=sum(size for digest, size in contents[1].items() if digest not in contents[0]),
        bytes_gone=sum(size for digest, size in contents[0].items() if digest not in contents[1]),
    )


def _references(one: Mapping[str, object], two: Mapping[str, object]) -> ReferenceChanges:
    return ReferenceChanges(
        added=sorted(two.keys() - one.keys()),
        removed=sorted(one.keys() - two.keys()),
        changed=sorted(uri for uri in one.keys() & two.keys() if one[uri] != two[uri]),
    )


def _changed(one: Mapping[str, Any], two: Mapping[str, Any]) -> dict[str, ValueChange]:
    changes = {key: _change(value, two[key]) for key, value in one.items() if key in two}
    return {key: change for key, change in changes.items() if change is not None}


def _change(before: Any, after: Any) -> ValueChange | None:
    # True is not 1 here, and 1 is 1.0.
    is_same = before == after and isinstance(before, bool) == isinstance(after, bool)
    return None if is_same else ValueChange(before, after)
