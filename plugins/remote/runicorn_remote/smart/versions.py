"""Versions of artifacts in a cache: what a client names, and which files the server says they have."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import msgspec

from runicorn.plugin import BadInput, NotFound, integer, parse_json, read_json_object, shown, text
from runicorn_remote.errors import RemoteError
from runicorn_remote.paths import is_safe_name, is_safe_path
from runicorn_remote.smart.cache import Cache
from runicorn_remote.smart.places import ARTIFACTS

TYPES = ("model", "dataset", "config", "code", "custom")

_VERSION = re.compile(r"v([1-9][0-9]{0,17})", re.ASCII)
_DRIVE = re.compile(r"[A-Za-z]:")


class UnsafeManifest(RemoteError):
    """A manifest names a file that would end up elsewhere, or twice."""

    status, code = 400, "unsafe_path"

    def __init__(self, path: str) -> None:
        super().__init__(f"Invalid path in manifest: {shown(path)}")


class Version(msgspec.Struct, frozen=True):
    """One version of an artifact."""

    type: str
    name: str
    number: int

    @property
    def key(self) -> str:
        """The directory of the artifact, below the remote root and below the copies of metadata."""
        return f"{ARTIFACTS}/{self.type}/{self.name}"

    @property
    def directory(self) -> str:
        """That of the version."""
        return f"{self.key}/v{self.number}"

    def __str__(self) -> str:
        return f"{self.name}:v{self.number}"


class VersionFile(msgspec.Struct, frozen=True):
    """A file of a version, as its manifest says."""

    path: str
    size: int
    digest: str
    """`<algorithm>:<hex>`; empty if the manifest has none."""


def find_version(cache: Cache, name: str, version: str, type: str | None) -> Version:
    """The version that a client names by `net`, `v3` and, where the name is in several types, the type."""
    number = _VERSION.fullmatch(version)
    if number is None:
        raise BadInput("Invalid value for version: must be a positive integer")
    check_type(cache, type)
    types = types_of(cache, name)
    if not types or (type is not None and type not in types):
        raise NotFound(f"Artifact not found in cache: {shown(name)}. Please sync metadata first.")
    if type is None and len(types) > 1:
        raise BadInput(f"Artifacts of several types have that name, choose one: {', '.join(types)}")
    found = Version(type or types[0], name, int(number[1]))
    folder = cache.metadata / found.directory
    if not (folder / "metadata.json").is_file() or not (folder / "manifest.json").is_file():
        raise NotFound(
            f"Artifact metadata not found in cache: {shown(name)}:v{found.number}. Please sync metadata first."
        )
    return found


def check_type(cache: Cache, type: str | None) -> None:
    """BadInput for a type that is neither one of the standard ones nor one that the server has."""
    if type is not None and type not in TYPES and type not in _custom_types(cache):
        raise BadInput(f"Invalid artifact type: {shown(type)}")


def types_of(cache: Cache, name: str) -> list[str]:
    """The types in which a name exists, the standard ones first."""
    if not is_safe_name(name):
        return []
    types = [*TYPES, *_custom_types(cache)]
    return [type for type in types if (cache.metadata / ARTIFACTS / type / name).is_dir()]


def _custom_types(cache: Cache) -> list[str]:
    try:
        names = os.listdir(cache.metadata / ARTIFACTS)
    except OSError:
        return []
    return sorted(name for name in names if name not in TYPES and not name.startswith("."))


def files_of(cache: Cache, version: Version) -> list[VersionFile]:
    """The files of a version. UnsafeManifest for the first path that is refused; nothing was written then."""
    manifest = _manifest(cache.metadata / version.directory / "manifest.json")
    listed = manifest.get("files")
    files: dict[str, VersionFile] = {}
    for entry in cast(list[object], listed) if isinstance(listed, list) else []:
        fields = cast(Mapping[str, object], entry) if isinstance(entry, dict) else {}
        path = text(fields.get("path")) or ""
        if "\\" in path or _DRIVE.match(path) or not is_safe_path(path.split("/")) or path in files:
            raise UnsafeManifest(path)
        files[path] = VersionFile(path, max(0, integer(fields.get("size")) or 0), text(fields.get("digest")) or "")
    for path in files:  # a file where another one needs a directory
        parts = path.split("/")
        if any("/".join(parts[:end]) in files for end in range(1, len(parts))):
            raise UnsafeManifest(path)
    return list(files.values())


def _manifest(path: Path) -> Mapping[str, Any]:
    try:
        content = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return read_json_object(path, limit=None) or {}
    return cast(Mapping[str, Any], content) if isinstance(content, dict) else {}
