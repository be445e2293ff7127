"""The folder of one artifact, `artifacts/<type>/<name>`, as it is on disk now. For threads: it reads files.

Nothing here creates or changes a file. What is damaged makes its own version *corrupted*, and nothing else. An object
remembers what it has read: make a new one for a new look.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from runicorn.plugin import integer, number, open_to_read, read_json_object
from runicorn_artifacts.errors import UnreadableManifest
from runicorn_artifacts.events import VersionRecord
from runicorn_artifacts.index import ArtifactIndex, ArtifactVersionInfo
from runicorn_artifacts.json_values import finite
from runicorn_artifacts.lifecycle import Lifecycle
from runicorn_artifacts.manifest import ArtifactManifest, FileEntry, StoredManifest
from runicorn_artifacts.metadata import ArtifactMetadata
from runicorn_artifacts.naming import LATEST, PRODUCTION

Status = Literal["ready", "deleted", "corrupted", "missing"]

INDEX_FILE = "versions.json"
METADATA_FILE = "metadata.json"
MANIFEST_FILE = "manifest.json"
LIFECYCLE_FILE = "lifecycle.json"
MARKER_FILE = ".deleted"
FILES = "files"
LOCK_FILE = ".lock"

_VERSION_FOLDER = re.compile(r"v([1-9][0-9]{0,17})", re.ASCII)


class ArtifactFolder:
    """One artifact on disk."""

    def __init__(self, path: Path, type: str, name: str, *, has_contents: bool = True) -> None:
        """Without `has_contents` the folder is a copy of what describes the versions: nothing is missed in it."""
        self.path = path
        self._place = os.fspath(path)
        self.type = type
        self.name = name
        self._has_contents = has_contents
        self._known: dict[int, bool] = {}
        # Of the version that was asked for last: a store has more of them than fit into memory.
        self._last_metadata: tuple[int, dict[str, Any] | None] = (0, None)
        self._last_manifest: tuple[int, StoredManifest | None] = (0, None)

    def metadata(self, version: int) -> dict[str, Any] | None:
        """The object in a version's metadata.json; None if there is none that can be read."""
        if self._last_metadata[0] != version:
            content = finite(read_json_object(self.version_path(version) / METADATA_FILE, limit=None))
            self._last_metadata = version, content
        return self._last_metadata[1]

    def manifest(self, version: int) -> StoredManifest | None:
        """A version's manifest; None if there is none that can be read."""
        if self._last_manifest[0] != version:
            self._last_manifest = (0, None)  # before the next one is read
            self._last_manifest = version, self._read_manifest(version)
        return self._last_manifest[1]

    def has(self, version: int) -> bool:
        """Whether a version exists. One that the index lacks does if it is complete: its saver was killed."""
        if version not in self._known:
            self._known[version] = self._has(version)
        return self._known[version]

    @cached_property
    def stored_index(self) -> ArtifactIndex | None:
        """What `versions.json` says; None if it is absent or unreadable."""
        try:
            with open_to_read(self.path / INDEX_FILE) as file:
                return ArtifactIndex.from_bytes(file.read())
        except OSError:
            return None

    @cached_property
    def _indexed(self) -> dict[int, ArtifactVersionInfo]:
        return {} if self.stored_index is None else {item.version: item for item in self.stored_index.versions}

    @cached_property
    def index(self) -> ArtifactIndex:
        """The index as it should be: versions that have their folder, with their status, and settled aliases.

        If there is none on disk, it follows from the metadata files.
        """
        return self._settled([self._item(version) for version in self.versions])

    @cached_property
    def listed_index(self) -> ArtifactIndex:
        """`index`, but whether a version is deleted is what the index on disk says, where that has the version.

        Enough for who adds a version: it is the latest one, whatever the others are. Costs no look at their folders.
        """
        return self._settled([self._indexed.get(version) or self._item(version) for version in self.versions])

    def _settled(self, items: list[ArtifactVersionInfo]) -> ArtifactIndex:
        stored = self.stored_index or ArtifactIndex(self.name, self.type)
        created = [item.created_at for item in items]
        index = ArtifactIndex(
            self.name,
            self.type,
            items,
            dict(stored.aliases),
            stored.created_at or min(created, default=0.0),
            stored.updated_at or max(created, default=0.0),
            stored.next_version,
        )
        index.next_version = max(stored.highest, index.highest) + 1
        production = self._holder_of_production()
        if PRODUCTION not in index.aliases and production is not None:
            index.aliases[PRODUCTION] = production
        index.settle()
        return index

    @cached_property
    def versions(self) -> list[int]:
        """Numbers of all versions, ascending, deleted ones included."""
        return [number for number in self._numbered_folders if number in self._indexed or self.has(number)]

    @cached_property
    def unindexed(self) -> list[int]:
        """Versions that exist and that the index on disk does not have."""
        return [version for version in self.versions if version not in self._indexed]

    @property
    def exists(self) -> bool:
        """Whether there is an index or a version; an empty folder is no artifact."""
        return self.stored_index is not None or bool(self.versions)

    def version_path(self, version: int) -> Path:
        """The folder of a version; it need not exist."""
        return self.path / f"v{version}"

    def deleted_at(self, version: int) -> float | None:
        """Since when a version is marked as deleted; None if it is not."""
        marker = self.version_path(version) / MARKER_FILE
        try:
            modified = os.lstat(marker).st_mtime
        except OSError:
            return None
        said = number((read_json_object(marker) or {}).get("deleted_at"))
        return modified if said is None else said

    def is_deleted(self, version: int) -> bool:
        """Whether the version is marked as deleted, whatever the marker says."""
        return os.path.lexists(f"{self._place}/v{version}/{MARKER_FILE}")

    def status(self, version: int) -> Status:
        """The status of a version, found out by a look at every file."""
        if not self.has(version):
            return "missing"
        if self.is_deleted(version):
            return "deleted"
        return "ready" if self.is_sound(version) else "corrupted"

    def is_sound(self, version: int) -> bool:
        """Whether metadata and manifest are those that were saved, and all files are there with their sizes."""
        manifest = self.manifest(version)
        if manifest is None or self.is_damaged(version):
            return False
        files = f"{self._place}/v{version}/{FILES}"
        return not self._has_contents or all(_is_there(files, entry) for entry in manifest.content.files)

    def is_damaged(self, version: int) -> bool:
        """Whether metadata or manifest cannot be read, or are not those that were saved; files are not looked at."""
        metadata, manifest = self.metadata(version), self.manifest(version)
        if metadata is None or manifest is None or not all(entry.is_safe for entry in manifest.content.files):
            return True
        digest = ArtifactMetadata.from_dict(metadata).manifest_digest
        return digest is not None and digest != manifest.digest

    def saved_manifest(self, version: int) -> ArtifactManifest:
        """The manifest that was saved. UnreadableManifest if there is none, or another one."""
        manifest = self.manifest(version)
        metadata = ArtifactMetadata.from_dict(self.metadata(version) or {})
        if manifest is None or metadata.manifest_digest not in (None, manifest.digest):
            raise UnreadableManifest(self.name, version)
        return manifest.content

    def lifecycle(self, version: int) -> Lifecycle:
        """The stage of a version, from lifecycle.json or, as 0.4.0 had it, from metadata.json."""
        found = finite(read_json_object(self.version_path(version) / LIFECYCLE_FILE, limit=None))
        return Lifecycle.read((self.metadata(version) or {}) if found is None else found)

    def record(self, version: int) -> VersionRecord | None:
        """What read models keep of a version; None if it does not exist."""
        if not self.has(version):
            return None
        metadata, manifest = self.metadata(version), self.manifest(version)
        has_metadata = metadata is not None
        if metadata is None:
            metadata = {key: value for key, value in self._item(version).to_dict().items() if key != "aliases"}
        content = ArtifactManifest() if manifest is None else manifest.content
        return VersionRecord.of(
            ArtifactMetadata.from_dict(metadata),
            content,
            is_damaged=self.is_damaged(version),
            has_metadata=has_metadata,
        )

    def active_aliases(self, version: int) -> list[str]:
        """The aliases by which a version can be found now; a deleted one has none."""
        return [] if self.is_deleted(version) else self.aliases_of(version)

    def aliases_of(self, version: int) -> list[str]:
        """All aliases of a version, `latest` last."""
        found = sorted(alias for alias, target in self.index.aliases.items() if target == version and alias != LATEST)
        return [*found, LATEST] if version == self.latest else found

    @cached_property
    def latest(self) -> int | None:
        """The highest version that is not deleted."""
        return next((version for version in reversed(self.versions) if not self.is_deleted(version)), None)

    @property
    def aliases(self) -> dict[str, int]:
        """Active aliases and their versions, `latest` first."""
        found = {LATEST: self.latest} if self.latest is not None else {}
        others = {alias: version for alias, version in self.index.aliases.items() if alias != LATEST}
        return found | {a: v for a, v in others.items() if self.has(v) and not self.is_deleted(v)}

    @cached_property
    def _numbered_folders(self) -> list[int]:
        found: list[int] = []
        with contextlib.suppress(OSError), os.scandir(self.path) as entries:
            for entry in entries:
                match = _VERSION_FOLDER.fullmatch(entry.name)
                if match is not None and entry.is_dir():
                    found.append(int(match[1]))
        return sorted(found)

    def _holder_of_production(self) -> int | None:
        """In a store of 0.4.0, whose index has no such alias: the version whose metadata.json has that stage."""
        stored = self.stored_index
        if stored is not None and (PRODUCTION in stored.aliases or stored.next_version is not None):
            return None
        for version in reversed(self.versions):
            if not self.is_deleted(version) and self.lifecycle(version).stage == PRODUCTION:
                return version
        return None

    def _item(self, version: int) -> ArtifactVersionInfo:
        found = self._indexed.get(version)
        if found is None:
            found = ArtifactVersionInfo.from_dict({**(self.metadata(version) or {}), "version": version})
        found.status = "deleted" if self.is_deleted(version) else "ready"
        return found

    def _has(self, version: int) -> bool:
        if not os.path.isdir(self.version_path(version)):
            return False
        if version in self._indexed:
            return True
        metadata = self.metadata(version)
        if metadata is None:
            return False
        is_own = metadata.get("name") == self.name and integer(metadata.get("version")) == version
        return self.stored_index is None or (is_own and self.is_sound(version))

    def _read_manifest(self, version: int) -> StoredManifest | None:
        try:
            with open_to_read(self.version_path(version) / MANIFEST_FILE) as file:
                data = file.read()
        except OSError:
            return None
        content = ArtifactManifest.from_bytes(data)
        return None if content is None else StoredManifest(content, hashlib.sha256(data).hexdigest())


def file_of(version: Path, entry: FileEntry, *, any_size: bool = False) -> Path | None:
    """The file that an entry of a manifest means; None if it is absent, not inside of the version, or of another size."""
    if not entry.is_safe:
        return None
    path = version.joinpath(FILES, *entry.path.split("/"))
    try:
        found = os.lstat(path)
    except (OSError, ValueError):
        return None
    return path if stat.S_ISREG(found.st_mode) and (any_size or found.st_size == entry.size) else None


def _is_there(files: str, entry: FileEntry) -> bool:
    """`file_of` for an entry that is safe, as quick as can be: a version may have a hundred thousand."""
    try:
        found = os.lstat(f"{files}/{entry.path}")
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size == entry.size
