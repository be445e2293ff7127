"""Checking stored versions: everything is read again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from runicorn_artifacts.copying import Progress, digest_of, no_progress
from runicorn_artifacts.folder import MANIFEST_FILE, METADATA_FILE, ArtifactFolder, file_of
from runicorn_artifacts.metadata import ArtifactMetadata


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong with a version."""

    artifact: str
    """`model/net:v3`"""
    path: str
    """Of the file, inside of the version's folder."""
    reason: str


def verify(
    folders: Iterable[ArtifactFolder], version: int | None = None, progress: Progress = no_progress
) -> Iterator[Problem]:
    """The problems of all versions, deleted ones included, or of those with one number."""
    for folder in folders:
        for number in folder.versions:
            if version in (None, number):
                yield from _verify_version(folder, number, progress)


def content_bytes(folders: Iterable[ArtifactFolder], version: int | None = None) -> int:
    """How many bytes `verify` reads."""
    records = [folder.record(number) for folder in folders for number in folder.versions if version in (None, number)]
    return sum(record.file_bytes for record in records if record is not None)


def _verify_version(folder: ArtifactFolder, version: int, progress: Progress) -> Iterator[Problem]:
    name = f"{folder.type}/{folder.name}:v{version}"
    metadata, manifest = folder.metadata(version), folder.manifest(version)
    if metadata is None:
        yield Problem(name, METADATA_FILE, "absent or unreadable")
    if manifest is None:
        yield Problem(name, MANIFEST_FILE, "absent or unreadable")
        return
    if metadata is not None and ArtifactMetadata.from_dict(metadata).manifest_digest not in (None, manifest.digest):
        yield Problem(name, MANIFEST_FILE, "not the one that was saved")
    for entry in manifest.content.files:
        path = f"files/{entry.path}"
        found = file_of(folder.version_path(version), entry, any_size=True)
        if not entry.is_safe:
            yield Problem(name, path, "leads out of the version")
        elif found is None:
            yield Problem(name, path, "absent")
        elif file_of(folder.version_path(version), entry) is None:
            yield Problem(name, path, "another size")
        else:
            try:
                digest = digest_of(found, progress)[0]
            except OSError as error:
                yield Problem(name, path, f"cannot be read: {error.strerror}")
            else:
                if digest != entry.sha256:
                    yield Problem(name, path, "another content")
