"""An artifact in the hands of a user: staged content before it is saved, stored content after that."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from runicorn_artifacts.manifest import ArtifactManifest, ReferenceEntry
from runicorn_artifacts.metadata import ArtifactMetadata
from runicorn_artifacts.naming import ArtifactType, name_problem, type_of_folder

if TYPE_CHECKING:
    from runicorn_artifacts.storage import ArtifactStorage


class Artifact:
    """A model, a dataset or other files under a name. Stage content, then save it with `Run.log_artifact`.

    What `Run.use_artifact` returns is *loaded*: it knows its version and gives access to the stored files.
    """

    def __init__(
        self,
        name: str,
        type: str | ArtifactType = ArtifactType.MODEL,
        description: str = "",
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """ValueError for a name or type that an artifact cannot have."""
        if isinstance(type, str):  # pyright: ignore[reportUnnecessaryIsInstance] - what is none gets its own text below
            type = type_of_folder(str(type))
        for what, value in (("name", name), ("type", type)):
            problem = name_problem(value, what)
            if problem is not None:
                raise ValueError(problem)
        self._begin(name, type, description, metadata or {})

    def _begin(self, name: str, type: str, description: str, metadata: Mapping[str, Any]) -> None:
        self.name = name
        self.type: str = type
        self.description = description
        self.metadata: dict[str, Any] = dict(metadata)
        self.version: int | None = None
        self.is_loaded = False
        self._staged_files: list[tuple[Path, str]] = []
        self._staged_paths: set[str] = set()
        self._staged_references: list[ReferenceEntry] = []
        self._tags: list[str] = []
        self._stored_metadata: ArtifactMetadata | None = None
        self._manifest: ArtifactManifest | None = None
        self._storage: ArtifactStorage | None = None

    @classmethod
    def of_path(
        cls,
        path: str | os.PathLike[str],
        name: str | None = None,
        type: str | ArtifactType = ArtifactType.MODEL,
        description: str = "",
        metadata: Mapping[str, Any] | None = None,
    ) -> Self:
        """An artifact of one file, or of all files below a directory; called like that, unless there is a `name`."""
        source = Path(path)
        artifact = cls(name or source.resolve().name, type, description, metadata)
        return artifact.add_dir(source) if source.is_dir() else artifact.add_file(source)

    @property
    def full_name(self) -> str:
        """`net:v3`, or `net:unstaged` before it is saved."""
        return f"{self.name}:unstaged" if self.version is None else f"{self.name}:v{self.version}"

    def __str__(self) -> str:
        return self.full_name

    def __repr__(self) -> str:
        if self.version is None:
            return f"<Artifact {self.name} type={self.type} (unstaged)>"
        return f"<Artifact {self.full_name} type={self.type}>"

    def add_file(self, path: str | os.PathLike[str], name: str | None = None) -> Self:
        """Stage a file under its own name, or under `name`, a path with `/`. It is read when the artifact is logged."""
        source = Path(path)
        if not source.exists():
            raise FileNotFoundError(f"File not found: {path}")
        if not source.is_file():
            raise ValueError(f"Not a file (use add_dir for directories): {path}")
        self._stage(source, name or source.name)
        return self

    def add_dir(
        self,
        path: str | os.PathLike[str],
        name: str | None = None,
        exclude_patterns: Sequence[str] | None = None,
    ) -> Self:
        """Stage all files below a directory, hidden ones included; linked directories are not followed.

        `name` becomes the first part of their paths. A pattern such as `*.log` leaves files out at any depth. OSError for a
        directory that cannot be read.
        """
        top = Path(path)
        if not top.exists():
            raise FileNotFoundError(f"Directory not found: {path}")
        if not top.is_dir():
            raise ValueError(f"Not a directory: {path}")
        found: list[Path] = []
        for directory, _, names in os.walk(top, onerror=_raise):
            found += [Path(directory, file) for file in names]
        for source in sorted(found):
            inner = source.relative_to(top)
            if source.is_file() and not any(inner.match(pattern) for pattern in exclude_patterns or ()):
                self._stage(source, os.path.join(name, inner) if name else str(inner))
        return self

    def add_reference(
        self, uri: str, checksum: str | None = None, size: int | None = None, name: str | None = None, **metadata: Any
    ) -> Self:
        """Stage a reference to data that stays where it is; it is neither copied nor fetched."""
        if name is not None:
            metadata["name"] = name
        self._staged_references.append(ReferenceEntry(uri, checksum, size, metadata))
        return self

    def add_metadata(self, metadata: Mapping[str, Any]) -> Self:
        """Set keys of the metadata; others stay."""
        self.metadata.update(metadata)
        return self

    def add_tags(self, *tags: object) -> Self:
        """Add tags, in order, each once. What is no text, or an empty one, is skipped."""
        for tag in tags:
            if isinstance(tag, str) and tag and tag not in self._tags:
                self._tags.append(tag)
        return self

    def get_metadata(self) -> ArtifactMetadata | None:
        """What was stored of the version; None before that."""
        return self._stored_metadata

    def get_manifest(self) -> ArtifactManifest | None:
        """The stored content, file by file; None before there is any."""
        return self._manifest

    def get_references(self) -> list[ReferenceEntry]:
        """The stored references, before that the staged ones."""
        return list(self._staged_references if self._manifest is None else self._manifest.references)

    def get_file_path(self, rel: str) -> Path | None:
        """A file of this version in the store, read-only; None if there is no such file.

        ValueError for a path that leads out of the version, RuntimeError if the artifact is not loaded.
        """
        if self._storage is None or self.version is None:
            raise RuntimeError(f"Artifact {self.name} is not loaded")
        return self._storage.get_artifact_file_path(self.name, self.type, self.version, rel)

    def download(self, target_dir: str | os.PathLike[str] | None = None) -> Path:
        """Copy all files into a directory; the directory.

        Without a target that is a new temporary one, removed at the end of the process. Copies are writable, and nothing
        that happens to them touches the store. RuntimeError if the artifact is not loaded, FileNotFoundError for a file
        that is missing or not the one that was saved, IsADirectoryError for a directory in a file's place.
        """
        if self._storage is None or self.version is None:
            raise RuntimeError(f"Artifact {self.name} is not loaded. Use run.use_artifact() first.")
        return self._storage.download_artifact(self.name, self.type, self.version, target_dir)

    @classmethod
    def loaded(cls, storage: ArtifactStorage, metadata: ArtifactMetadata, manifest: ArtifactManifest) -> Self:
        """A stored version, whatever it is called: names that 0.4.0 accepted remain readable."""
        artifact = cls.__new__(cls)
        artifact._begin(metadata.name, metadata.type, metadata.description, metadata.metadata)
        artifact._tags = list(metadata.tags)
        artifact.set_loaded(storage, metadata, manifest)
        return artifact

    def set_loaded(self, storage: ArtifactStorage, metadata: ArtifactMetadata, manifest: ArtifactManifest) -> None:
        """For the store: this object stands for a stored version now."""
        self._storage, self._stored_metadata, self._manifest = storage, metadata, manifest
        self.version, self.is_loaded = metadata.version, True

    @property
    def staged(self) -> tuple[list[tuple[Path, str]], list[ReferenceEntry]]:
        """Files (source, path inside of the artifact) and references that the next save would store."""
        return list(self._staged_files), list(self._staged_references)

    @property
    def tags(self) -> list[str]:
        """Words by which the version may be found."""
        return list(self._tags)

    def _stage(self, source: Path, path: str) -> None:
        path = path.replace("/", os.sep)
        if path not in self._staged_paths:
            self._staged_paths.add(path)
            self._staged_files.append((source, path))


def _raise(error: OSError) -> None:
    raise error


def temporary_folder(name: str, version: int) -> Path:
    """A new folder for a download, removed when the interpreter exits."""
    safe = "".join(character if character.isalnum() or character in "-._" else "_" for character in name)[:40]
    path = tempfile.mkdtemp(prefix=f"runicorn_{safe}_v{version}_")
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return Path(path)
