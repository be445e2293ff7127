"""`metadata.json`: what is known of a version besides its content. Immutable once written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self, cast

from runicorn.plugin import integer, number, text


class ArtifactStatus(StrEnum):
    """States of a version, as 0.4.0 names them."""

    PENDING = "pending"
    UPLOADING = "uploading"
    READY = "ready"
    FAILED = "failed"
    DELETED = "deleted"


@dataclass
class ArtifactMetadata:
    """One version. On disk `manifest_digest` is bare hexadecimal SHA-256 of the manifest's bytes."""

    name: str
    type: str
    version: int
    created_at: float = 0.0
    updated_at: float = 0.0
    created_by_run: str = ""
    created_by_user: str | None = None
    size_bytes: int = 0
    """Known sizes of references included."""
    num_files: int = 0
    num_references: int = 0
    status: str = ArtifactStatus.READY.value
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    description: str = ""
    tags: list[str] = field(default_factory=list[str])
    aliases: list[str] = field(default_factory=list[str])
    parent_artifacts: list[str] = field(default_factory=list[str])
    manifest_digest: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As `metadata.json` has it, in its order."""
        return {
            "name": self.name,
            "type": self.type,
            "version": self.version,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            "created_by_run": self.created_by_run,
            "created_by_user": self.created_by_user,
            "size_bytes": self.size_bytes,
            "num_files": self.num_files,
            "num_references": self.num_references,
            "status": str(self.status),
            "metadata": self.metadata,
            "description": self.description,
            "tags": list(self.tags),
            "aliases": list(self.aliases),
            "parent_artifacts": list(self.parent_artifacts),
            "manifest_digest": self.manifest_digest,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """From the content of `metadata.json`; unknown keys are ignored, what cannot be used counts as absent."""
        created_at = number(data.get("created_at")) or 0.0
        updated_at = number(data.get("updated_at"))
        metadata = data.get("metadata")
        return cls(
            name=text(data.get("name")) or "",
            type=text(data.get("type")) or "",
            version=integer(data.get("version")) or 0,
            created_at=created_at,
            updated_at=created_at if updated_at is None else updated_at,
            created_by_run=text(data.get("created_by_run")) or "",
            created_by_user=text(data.get("created_by_user")),
            size_bytes=integer(data.get("size_bytes")) or 0,
            num_files=integer(data.get("num_files")) or 0,
            num_references=integer(data.get("num_references")) or 0,
            status=text(data.get("status")) or ArtifactStatus.READY.value,
            metadata=dict(cast(Mapping[str, Any], metadata)) if isinstance(metadata, dict) else {},
            description=text(data.get("description")) or "",
            tags=_texts(data.get("tags")),
            aliases=_texts(data.get("aliases")),
            parent_artifacts=_texts(data.get("parent_artifacts")),
            manifest_digest=bare_digest(data.get("manifest_digest")),
        )


def bare_digest(value: object) -> str | None:
    """A digest without `sha256:`; None if there is none."""
    return (text(value) or "").removeprefix("sha256:").lower() or None


def _texts(value: object) -> list[str]:
    items = cast(list[object], value) if isinstance(value, list) else []
    return [found for item in items if (found := text(item)) is not None]
