"""What a client says of the version that it is going to send, and whether that can become one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from runicorn.plugin import BadInput, TooLarge, shown
from runicorn_artifacts.errors import ArtifactNotFound, IllegalName, IllegalType
from runicorn_artifacts.json_values import stored_metadata
from runicorn_artifacts.lookup import Lookup
from runicorn_artifacts.manifest import FileEntry, ReferenceEntry
from runicorn_artifacts.naming import is_legal, is_legal_alias, stored_path, type_of_folder
from runicorn_artifacts.saving import Description, Staged
from runicorn_artifacts.staging import check_nesting
from runicorn_artifacts.uploads.limits import UploadLimits

_DIGEST = re.compile(r"(?:sha256:)?([0-9a-fA-F]{64})", re.ASCII)
_MAX_SIZE = 1 << 53
DEFAULT_TYPE = "custom"


class DeclaredFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file that the version will have."""

    path: str
    """Inside of the artifact, with `/`."""
    size: int
    digest: str
    """`sha256:` and 64 hexadecimal digits."""
    modified_at: float | None = None
    executable: bool = False


class DeclaredReference(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Data that stays elsewhere."""

    uri: str
    checksum: str | None = None
    size: int | None = None
    metadata: dict[str, Any] = {}


class Draft(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A version in the making."""

    files: list[DeclaredFile] = []
    references: list[DeclaredReference] = []
    description: str = ""
    metadata: dict[str, Any] = {}
    tags: list[str] = []
    aliases: list[str] = []
    """For the new version; set once it exists."""
    run_id: str | None = None
    """The run that made it."""

    def staged(self, path: Path, files: list[FileEntry], receipt: Path | None = None) -> Staged:
        """What becomes a version, with these files in the folder `path`."""
        return Staged(
            path=path,
            files=files,
            references=[ReferenceEntry(r.uri, r.checksum, r.size, r.metadata).stored() for r in self.references],
            described=Description.of(self),
            run_id=self.run_id or "",
            aliases=self.aliases,
            receipt=receipt,
        )


def type_of_new_version(lookup: Lookup, name: str, type: str | None) -> str:
    """The type that is meant: the given one, else that of the artifact whom the name means, else `custom`.

    IllegalName or IllegalType, if there can be no such artifact.
    """
    if not is_legal(name):
        raise IllegalName(name)
    if type:
        found = type_of_folder(type)
        if not is_legal(found):
            raise IllegalType(found)
        return found
    try:
        return lookup.find(name).type
    except ArtifactNotFound:
        return DEFAULT_TYPE


def checked(draft: Draft, limits: UploadLimits) -> Draft:
    """The draft with digests and paths as a manifest has them. BadInput for what cannot be saved, TooLarge for too much."""
    check_facts(draft)
    if not draft.files and not draft.references:
        raise BadInput("Artifact has no files or references to save")
    if len(draft.files) > limits.version_files or sum(file.size for file in draft.files) > limits.version_bytes:
        raise TooLarge
    files = [
        msgspec.structs.replace(file, path=checked_path(file.path), digest=f"sha256:{digest_in(file.digest)}")
        for file in draft.files
    ]
    check_paths([file.path for file in files])
    sizes: dict[str, int] = {}
    for file in files:
        if not 0 <= file.size < _MAX_SIZE or sizes.setdefault(file.digest, file.size) != file.size:
            raise BadInput(f"Invalid value for size: of {shown(file.path)}")
    return msgspec.structs.replace(draft, files=files, tags=unique(draft.tags))


def check_facts(draft: Draft) -> None:
    """BadInput for anything but files that cannot be saved."""
    for alias in draft.aliases:
        if not is_legal_alias(alias):
            raise BadInput(f"Invalid value for aliases: {shown(alias)!r} cannot be set")
    try:
        for metadata in (draft.metadata, *(reference.metadata for reference in draft.references)):
            stored_metadata(metadata)
    except TypeError as error:
        raise BadInput(shown(str(error))) from error
    for reference in draft.references:
        if not reference.uri or not 0 <= (reference.size or 0) < _MAX_SIZE:
            raise BadInput(f"Invalid value for references: {shown(reference.uri)!r}")


def checked_path(path: str) -> str:
    """A path as a manifest has it. BadInput if it leads elsewhere."""
    try:
        return stored_path(path)
    except ValueError as error:
        raise BadInput(shown(str(error))) from error


def check_paths(paths: Sequence[str]) -> None:
    """BadInput for two files with one path, or for one that lies in another."""
    if len(set(paths)) < len(paths):
        raise BadInput("Invalid value for files: a path occurs twice")
    try:
        check_nesting(paths)
    except ValueError as error:
        raise BadInput(shown(str(error))) from error


def digest_in(text: str) -> str:
    """64 hexadecimal digits in lower case, out of a digest with or without `sha256:`."""
    found = _DIGEST.fullmatch(text)
    if found is None:
        raise BadInput("Invalid value for digest: must be sha256: and 64 hexadecimal digits")
    return found[1].lower()


def entry_of(file: DeclaredFile) -> FileEntry:
    """As the manifest will have it."""
    return FileEntry(file.path, file.size, file.digest, file.modified_at)


def unique(texts: Iterable[str]) -> list[str]:
    """In order, each once, without empty ones."""
    return [text for text in dict.fromkeys(texts) if text]
