"""Names of artifacts, types, aliases and of the files inside: what is legal, and how references to versions are read.

The rules apply to what is created. Artifacts that exist already are found whatever they are called.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol

import msgspec

from runicorn.plugin import shown
from runicorn_artifacts.errors import AliasNotFound, IllegalVersion, NoVersions, VersionNotFound


class ArtifactType(StrEnum):
    """The standard types. Any other legal string is a type, too."""

    MODEL = "model"
    DATASET = "dataset"
    CONFIG = "config"
    CODE = "code"
    CUSTOM = "custom"


STANDARD_TYPES: tuple[str, ...] = tuple(str(type) for type in ArtifactType)
"""In the order in which a name without type is looked up."""

LATEST = "latest"
PRODUCTION = "production"

_MAX_BYTES = 128
_MAX_PATH_BYTES = 4096
_MAX_PART_BYTES = 255
"""More cannot be stored on any disk."""

_FORBIDDEN = re.compile(r'[/\\:*?"<>|\x00-\x1f\x7f-\x9f\ud800-\udfff]')
_INTEGER = re.compile(r"[+-]?[0-9]{1,100}", re.ASCII)
_ODD_FOLDERS = {f"ArtifactType.{type.name}": str(type) for type in ArtifactType}
"""How 0.4.0 named the folders of types on Python 3.11 and older."""


def name_problem(value: object, what: str) -> str | None:
    """Why `value` cannot be a name or type, as a sentence about the artifact's `what`; None if it can."""
    if not isinstance(value, str) or not value:
        return f"Artifact {what} must be a non-empty string"
    if _FORBIDDEN.search(value) or value.startswith("."):
        return f"Artifact {what} contains invalid characters: {value}"
    length = len(value.encode())
    if length > _MAX_BYTES:
        return f"Artifact {what} is too long: {length} bytes (limit {_MAX_BYTES})"
    return None


def is_legal(value: str) -> bool:
    """Whether an artifact or a type may be called so."""
    return name_problem(value, "name") is None


def is_legal_alias(value: str) -> bool:
    """Whether a user may give this alias: `latest` and `production` are set by what happens, `v3` is a version."""
    return is_legal(value) and value not in (LATEST, PRODUCTION) and version_spec(value) is None


def type_of_folder(folder: str) -> str:
    """The type whose artifacts are in `artifacts/<folder>`."""
    return _ODD_FOLDERS.get(folder, folder)


def folders_of_type(type: str) -> list[str]:
    """Names of the folders below `artifacts` that may hold artifacts of a type, the usual one first."""
    return [type, *(folder for folder, odd in _ODD_FOLDERS.items() if odd == type)]


def type_order(type: str) -> tuple[int, str]:
    """Sort key of types: the standard ones first, the others by alphabet."""
    return (STANDARD_TYPES.index(type) if type in STANDARD_TYPES else len(STANDARD_TYPES), type)


def parse_version(text: str) -> int:
    """A decimal integer; IllegalVersion if it is none. It need not be the number of any version."""
    if not _INTEGER.fullmatch(text):
        raise IllegalVersion(text)
    return int(text)


def version_spec(text: str) -> int | None:
    """The integer in `v3` or `V3`; None if `text` has another form."""
    return int(text[1:]) if text[:1] in ("v", "V") and _INTEGER.fullmatch(text[1:]) else None


class Reference(msgspec.Struct, frozen=True):
    """`[type/]name:spec`, as `use_artifact` takes it."""

    type: str | None
    name: str
    spec: str
    """`v` and a number, or an alias."""

    @classmethod
    def read(cls, text: str) -> Reference:
        """ValueError if there is nothing to look up."""
        name, _, spec = text.partition(":")
        type, slash, rest = name.partition("/")
        name = rest if slash else name
        if not name or not spec or (slash and not type):
            raise ValueError(f"Artifact spec must be in format 'name:version' or 'name:alias', got: {text}")
        return cls(type if slash else None, name, spec)


class Versioned(Protocol):
    """What a specification of a version is looked up in."""

    @property
    def name(self) -> str:
        """Of the artifact."""
        ...

    @property
    def aliases(self) -> Mapping[str, int]:
        """Active aliases and their versions, `latest` among them if there is one."""
        ...

    def has(self, version: int, /) -> bool:
        """Whether there is such a version."""
        ...


def version_meant(artifact: Versioned, spec: str) -> int:
    """The version that `v3` or an alias means. VersionNotFound; AliasNotFound; NoVersions if it means the latest."""
    number = version_spec(spec)
    if number is not None:
        return existing_version(artifact, number)
    if spec == LATEST and LATEST not in artifact.aliases:
        raise NoVersions(artifact.name)
    return aliased_version(artifact, spec)


def aliased_version(artifact: Versioned, alias: str) -> int:
    """The version that an alias points to now. AliasNotFound if there is none."""
    found = artifact.aliases.get(alias)
    if found is None:
        raise AliasNotFound(alias, artifact.name, list(artifact.aliases))
    return found


def existing_version(artifact: Versioned, number: int) -> int:
    """The number, if the artifact has such a version. VersionNotFound if it has not."""
    if number < 1 or not artifact.has(number):
        raise VersionNotFound(artifact.name, number)
    return number


def stored_path(path: str) -> str:
    """The path of a file inside of an artifact, as the manifest writes it. ValueError if it would lead elsewhere."""
    given = path
    if len(path) > _MAX_PATH_BYTES:
        raise ValueError(f"Invalid artifact path (too long): {shown(path)}")
    if os.sep == "\\":
        path = path.replace("\\", "/")
    parts = path.split("/")
    if ".." in parts:
        raise ValueError(f"Invalid artifact path (contains '..'): {given}")
    if path.startswith("/") or os.path.isabs(path):
        raise ValueError(f"Invalid artifact path (absolute): {given}")
    if not is_safe_path(path) or "\\" in path or _is_unstorable(path):
        raise ValueError(f"Invalid artifact path: {given}")
    encoded = path.encode()
    if len(encoded) > _MAX_PATH_BYTES or any(len(part) > _MAX_PART_BYTES for part in encoded.split(b"/")):
        raise ValueError(f"Invalid artifact path (too long): {shown(path)}")
    return path


def is_safe_path(path: str) -> bool:
    """Whether a path in a manifest stays below the folder that it belongs to."""
    return "\0" not in path and not any(part in ("", ".", "..") for part in path.split("/"))


def _is_unstorable(path: str) -> bool:
    """Names that are not UTF-8 cannot be written into a manifest and found again."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return True
    return False
