"""What the files of an artifact version say: `artifacts/<type>/<name>/vN`. For threads: it looks at every file.

Nothing here creates or changes a file. What is damaged makes its own version *corrupted*, and nothing else.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, cast

import msgspec

from runicorn.plugin import integer, number, parse_json, read_json_object, text

Status = Literal["ready", "deleted", "corrupted", "missing"]

DEFAULT_STAGE = "experimental"
LATEST = "latest"

_STAGES = frozenset({DEFAULT_STAGE, "staging", "production", "archived"})
_STANDARD_TYPES = frozenset({"model", "dataset", "config", "code", "custom"})
_VERSION_FOLDER = re.compile(r"v([1-9][0-9]{0,17})", re.ASCII)


class VersionFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One version. None where its metadata cannot be read."""

    status: Status
    size_bytes: int | None = None
    created_at: float | None = None
    description: str | None = None
    lifecycle_stage: str | None = None
    aliases: list[str] = []
    """Active ones; a deleted version has none."""


MISSING = VersionFacts(status="missing")


def read_version(root: Path, type: str, name: str, version: int) -> VersionFacts:
    """What is known of a version; `MISSING` if there is no such version."""
    for folder in _artifact_folders(root, type, name):
        artifact = _Artifact(folder, type, name)
        if artifact.has(version):
            return artifact.facts(version)
    return MISSING


def _artifact_folders(root: Path, type: str, name: str) -> Iterator[Path]:
    if not (_is_one_segment(type) and _is_one_segment(name)):
        return
    yield root / "artifacts" / type / name
    if type in _STANDARD_TYPES:
        yield root / "artifacts" / f"ArtifactType.{type.upper()}" / name  # 0.4.0 on Python 3.11 and older


class _Artifact:
    """The folder of one artifact with its index."""

    def __init__(self, folder: Path, type: str, name: str) -> None:
        self._folder = folder
        self._type = type
        self._name = name
        self._index = read_json_object(folder / "versions.json")

    def has(self, version: int) -> bool:
        """Whether a version exists. One that the index lacks does if it is complete: its saver was killed."""
        if not os.path.isdir(self._folder / f"v{version}"):
            return False
        if self._index is not None and version in self._indexed():
            return True
        metadata = self._metadata(version)
        if metadata is None:
            return False
        is_own = metadata.get("name") == self._name and integer(metadata.get("version")) == version
        return self._index is None or (is_own and self._is_sound(version, metadata))

    def facts(self, version: int) -> VersionFacts:
        """What is known of a version that exists."""
        metadata = self._metadata(version)
        is_deleted = self._is_deleted(version)
        is_sound = metadata is not None and self._is_sound(version, metadata)
        status: Status = "deleted" if is_deleted else "ready" if is_sound else "corrupted"
        if metadata is None:
            return VersionFacts(status=status)
        return VersionFacts(
            status=status,
            size_bytes=integer(metadata.get("size_bytes")),
            created_at=number(metadata.get("created_at")),
            description=text(metadata.get("description")) or "",
            lifecycle_stage=self._stage(version, metadata),
            aliases=[] if is_deleted else self._aliases(version),
        )

    def _indexed(self) -> set[int]:
        items = (self._index or {}).get("versions")
        if not isinstance(items, list):
            return set()
        numbers = (integer(item.get("version")) for item in cast(list[Any], items) if isinstance(item, dict))
        return {number for number in numbers if number is not None}

    def _metadata(self, version: int) -> Mapping[str, Any] | None:
        return read_json_object(self._folder / f"v{version}" / "metadata.json")

    def _is_deleted(self, version: int) -> bool:
        return os.path.lexists(self._folder / f"v{version}" / ".deleted")

    def _stage(self, version: int, metadata: Mapping[str, Any]) -> str:
        lifecycle = read_json_object(self._folder / f"v{version}" / "lifecycle.json")
        stage = (metadata if lifecycle is None else lifecycle).get("lifecycle_stage")
        return stage if stage in _STAGES else DEFAULT_STAGE

    def _aliases(self, version: int) -> list[str]:
        stored = (self._index or {}).get("aliases")
        aliases = cast(Mapping[str, object], stored) if isinstance(stored, dict) else {}
        chosen = [text(alias) or "" for alias, target in aliases.items() if target == version and alias != LATEST]
        return [*chosen, LATEST] if version == self._latest() else chosen

    def _latest(self) -> int | None:
        """The highest version that is not deleted."""
        try:
            names = os.listdir(self._folder)
        except OSError:
            return None
        found = (_VERSION_FOLDER.fullmatch(name) for name in names)
        numbers = sorted((int(match[1]) for match in found if match is not None), reverse=True)
        return next((number for number in numbers if not self._is_deleted(number) and self.has(number)), None)

    def _is_sound(self, version: int, metadata: Mapping[str, Any]) -> bool:
        """Whether the manifest is the one that was saved, and its files are there with their sizes."""
        folder = self._folder / f"v{version}"
        try:
            data = (folder / "manifest.json").read_bytes()
            manifest = parse_json(data)
        except (OSError, ValueError):
            return False
        digest = text(metadata.get("manifest_digest"))
        if digest and digest.removeprefix("sha256:").lower() != hashlib.sha256(data).hexdigest():
            return False
        files = cast(dict[str, Any], manifest).get("files", []) if isinstance(manifest, dict) else None
        return isinstance(files, list) and all(
            _is_there(folder / "files", entry) for entry in cast(list[object], files)
        )


def _is_there(folder: Path, entry: object) -> bool:
    if not isinstance(entry, dict):
        return False
    fields = cast(Mapping[str, object], entry)
    path = fields.get("path")
    if not isinstance(path, str):
        return False
    parts = path.replace("\\", "/").split("/")
    if "\0" in path or any(part in ("", ".", "..") for part in parts):
        return False
    try:
        found = os.lstat(folder.joinpath(*parts))
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size == fields.get("size")


def _is_one_segment(name: str) -> bool:
    """Whether a name from a file may be looked up as one folder. What 0.4.0 accepted remains readable."""
    return name != "" and not name.startswith(".") and not any(character in name for character in "/\0")
