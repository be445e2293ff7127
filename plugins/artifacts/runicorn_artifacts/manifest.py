"""`manifest.json`: the content of a version, file by file. Immutable once written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self, cast

import msgspec

from runicorn.plugin import integer, number, parse_json, text
from runicorn_artifacts.json_values import Int64, stored_metadata
from runicorn_artifacts.naming import is_safe_path


@dataclass
class FileEntry:
    """One file of a version."""

    path: str
    size: Int64
    digest: str
    """`sha256:` and 64 hex digits."""
    modified_at: float | None = None
    """Modification time of the source, in Unix seconds."""

    def to_dict(self) -> dict[str, Any]:
        """As the manifest has it."""
        return {"path": self.path, "size": self.size, "digest": self.digest, "modified_at": self.modified_at}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """From an entry of a manifest; a `\\` of 0.4.0 on Windows reads as `/`."""
        return cls(
            (text(data.get("path")) or "").replace("\\", "/"),
            integer(data.get("size")) or 0,
            text(data.get("digest")) or "",
            number(data.get("modified_at")),
        )

    @property
    def sha256(self) -> str:
        """The digest without its prefix."""
        return self.digest.removeprefix("sha256:").lower()

    @property
    def is_safe(self) -> bool:
        """Whether the path stays inside of the version."""
        return is_safe_path(self.path)


@dataclass
class ReferenceEntry:
    """Data that is kept elsewhere; never copied, never fetched."""

    uri: str
    checksum: str | None = None
    size: int | None = None
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])

    def to_dict(self) -> dict[str, Any]:
        """As the manifest has it."""
        return {"uri": self.uri, "checksum": self.checksum, "size": self.size, "metadata": dict(self.metadata)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """From an entry of a manifest."""
        metadata = data.get("metadata")
        return cls(
            text(data.get("uri")) or "",
            text(data.get("checksum")),
            integer(data.get("size")),
            dict(cast(Mapping[str, Any], metadata)) if isinstance(metadata, dict) else {},
        )

    def stored(self) -> Self:
        """As JSON stores it. TypeError, naming the key, for what it cannot store."""
        told = stored_metadata({"uri": self.uri, "checksum": self.checksum, "size": self.size})
        size: object = told["size"]
        if isinstance(size, float) and size.is_integer():  # 150e9
            size = int(size)
        if size is not None and integer(size) is None:
            raise TypeError(f"Reference to {self.uri}: 'size' must be a whole number, got {self.size!r}")
        return self.from_dict({**told, "size": size, "metadata": stored_metadata(self.metadata)})


@dataclass
class ArtifactManifest:
    """All of a version's content, in the order in which it was staged."""

    files: list[FileEntry] = field(default_factory=list[FileEntry])
    references: list[ReferenceEntry] = field(default_factory=list[ReferenceEntry])
    total_size: int = 0
    """Bytes, known sizes of references included."""
    total_files: int = 0
    total_references: int = 0
    created_at: float = 0.0

    @classmethod
    def of(cls, files: list[FileEntry], references: list[ReferenceEntry], created_at: float) -> Self:
        """With its totals."""
        size = sum(file.size for file in files) + reference_bytes(references)
        return cls(files, references, size, len(files), len(references), created_at)

    def to_dict(self) -> dict[str, Any]:
        """As `manifest.json` has it."""
        return {
            "files": [file.to_dict() for file in self.files],
            "references": [reference.to_dict() for reference in self.references],
            "total_size": self.total_size,
            "total_files": self.total_files,
            "total_references": self.total_references,
            "created_at": self.created_at,
        }

    @classmethod
    def from_bytes(cls, data: bytes) -> Self | None:
        """From the content of `manifest.json`; None if that is no object with a list of files.

        It may have a hundred thousand: one in which nothing is wrong takes the short way.
        """
        try:
            plain = msgspec.json.decode(data, type=_Plain)
            references = [_reference(item) for item in plain.references]
        except (ValueError, RecursionError):
            return cls._from_odd_bytes(data)
        files = plain.files
        if b"\\" in data:
            files = [FileEntry.from_dict(file.to_dict()) for file in files]
        return cls._read(files, references, plain.created_at, plain.total_size)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """From the content of `manifest.json`; what is no entry is left out."""
        files = [FileEntry.from_dict(item) for item in _objects(data.get("files"))]
        references = [ReferenceEntry.from_dict(item) for item in _objects(data.get("references"))]
        return cls._read(files, references, number(data.get("created_at")), integer(data.get("total_size")))

    @classmethod
    def _from_odd_bytes(cls, data: bytes) -> Self | None:
        try:
            content = parse_json(data)
        except ValueError:
            return None
        files = cast(dict[str, Any], content).get("files", []) if isinstance(content, dict) else None
        if not isinstance(files, list) or not all(isinstance(entry, dict) for entry in cast(list[object], files)):
            return None
        return cls.from_dict(cast(dict[str, Any], content))

    @classmethod
    def _read(
        cls,
        files: list[FileEntry],
        references: list[ReferenceEntry],
        created_at: float | None,
        total_size: int | None,
    ) -> Self:
        totals = cls.of(files, references, created_at or 0.0)
        return totals if total_size is None else replace(totals, total_size=total_size)


class StoredManifest(msgspec.Struct, frozen=True):
    """A manifest that can be read, and the digest of its very bytes."""

    content: ArtifactManifest
    digest: str


class _Plain(msgspec.Struct):
    """A manifest in which nothing is wrong."""

    files: list[FileEntry] = []
    references: list[msgspec.Raw] = []
    total_size: Int64 | None = None
    created_at: float | None = None


def _reference(item: msgspec.Raw) -> ReferenceEntry:
    """ValueError for what is no reference, or cannot be read."""
    # With what is around it in the file: how deep a value nests decides whether it can be read.
    [[content]] = parse_json(b"[[%b]]" % bytes(item))
    if not isinstance(content, dict):
        raise ValueError("not an object")
    return ReferenceEntry.from_dict(cast(dict[str, Any], content))


def reference_bytes(references: Iterable[ReferenceEntry]) -> int:
    """The sizes of references, as far as they are known."""
    return sum(reference.size or 0 for reference in references)


def _objects(value: object) -> list[Mapping[str, Any]]:
    items = cast(list[object], value) if isinstance(value, list) else []
    return [cast(Mapping[str, Any], item) for item in items if isinstance(item, dict)]
