"""From a name to an artifact, by reading folders: what SDK and command line do, without a server.

Input is matched against what exists, never joined into a path unseen. Nothing is created.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from runicorn_artifacts.errors import ArtifactNotFound
from runicorn_artifacts.folder import ArtifactFolder
from runicorn_artifacts.naming import (
    LATEST,
    STANDARD_TYPES,
    Reference,
    folders_of_type,
    type_of_folder,
    type_order,
    version_meant,
)

ARTIFACTS = "artifacts"


class Lookup:
    """The artifacts below one root."""

    def __init__(self, root: Path, *, has_contents: bool = True) -> None:
        """Without `has_contents` the files of versions are not looked for: see `ArtifactFolder`."""
        self.base = root / ARTIFACTS
        self._has_contents = has_contents

    def types(self) -> list[str]:
        """All types that have a folder, the standard ones first."""
        return sorted({type_of_folder(folder) for folder in _visible(self.base)}, key=type_order)

    def artifacts(self, type: str | None = None) -> Iterator[ArtifactFolder]:
        """Every artifact (of a type), by type and name."""
        for found in self.types() if type is None else [type]:
            names = {name for folder in self._folders(found) for name in _visible(self.base / folder)}
            for name in sorted(names):
                artifact = self.at(found, name)
                if artifact.exists:
                    yield artifact

    def at(self, type: str, name: str) -> ArtifactFolder:
        """The folder of an artifact of this very type; it need not exist."""
        folders = [self.base / folder / name for folder in self._folders(type)] if _is_one_segment(name) else []
        existing = [path for path in folders if _is_listed(path)]
        for path in existing if len(existing) > 1 else ():
            artifact = self._folder(path, type, name)
            if artifact.exists:
                return artifact
        return self._folder(existing[0] if existing else self.base / type / name, type, name)

    def find(self, name: str, type: str | None = None) -> ArtifactFolder:
        """The artifact that a name means. ArtifactNotFound if there is none.

        Without `type` the standard types are searched, then the others: for one in which the name has a version that is
        not deleted, else for one with any version, else for an index.
        """
        candidates = [type] if type else [*STANDARD_TYPES, *(t for t in self.types() if t not in STANDARD_TYPES)]
        found = [artifact for candidate in candidates if (artifact := self._existing(candidate, name)) is not None]
        for artifact in found:
            if artifact.latest is not None:
                return artifact
        for artifact in found:
            if artifact.versions:
                return artifact
        if not found:
            raise ArtifactNotFound(name, type)
        return found[0]

    def resolve(self, reference: str, type: str | None = None) -> tuple[ArtifactFolder, int]:
        """The artifact and the version that `[type/]name:v3` or `[type/]name:alias` means; a bare name means the latest.

        ArtifactNotFound, VersionNotFound, AliasNotFound or NoVersions; ValueError for what cannot be meant.
        """
        found = Reference.read(reference if ":" in reference else f"{reference}:{LATEST}")
        folder = self.find(found.name, found.type or type)
        return folder, version_meant(folder, found.spec)

    def _existing(self, type: str, name: str) -> ArtifactFolder | None:
        if not (_is_one_segment(type) and _is_one_segment(name)):
            return None
        artifact = self.at(type, name)
        return artifact if artifact.exists else None

    def _folder(self, path: Path, type: str, name: str) -> ArtifactFolder:
        return ArtifactFolder(path, type, name, has_contents=self._has_contents)

    def _folders(self, type: str) -> list[str]:
        return [folder for folder in folders_of_type(type) if _is_one_segment(folder)]


def _is_one_segment(name: str) -> bool:
    """Whether a name may be looked up as one folder. What 0.4.0 accepted remains readable."""
    return name != "" and not name.startswith(".") and not any(character in name for character in "/\0")


def _is_listed(path: Path) -> bool:
    """Whether the folder exists under exactly this name: some file systems find it under others, too."""
    try:
        return path.is_dir() and (sys.platform == "linux" or path.name in os.listdir(path.parent))
    except (OSError, ValueError):
        return False


def _visible(path: Path) -> list[str]:
    """Names of the folders in `path` that are not hidden; none if it cannot be read."""
    try:
        with os.scandir(path) as entries:
            return [entry.name for entry in entries if not entry.name.startswith(".") and _is_folder(entry)]
    except OSError:
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        entry.name.encode()
        return entry.is_dir()
    except (OSError, UnicodeEncodeError):
        return False
