"""The artifacts of one storage root, on disk: saved, loaded, deleted, without a server.

Numbers, names and texts are those of the contract of 0.4.0. Every change holds the artifact's lock; nothing stays open
between calls.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runicorn.plugin import parse_json
from runicorn_artifacts import deleting, promoting
from runicorn_artifacts.artifact import temporary_folder
from runicorn_artifacts.copying import copy_content, digest_of
from runicorn_artifacts.copying_out import copy_version
from runicorn_artifacts.errors import (
    AliasNotFound,
    ArtifactNotFound,
    IllegalVersion,
    InvalidMetadata,
    MetadataNotFound,
    VersionNotFound,
)
from runicorn_artifacts.folder import MANIFEST_FILE, METADATA_FILE, ArtifactFolder
from runicorn_artifacts.index import ArtifactVersionInfo
from runicorn_artifacts.json_values import finite, stored_json
from runicorn_artifacts.listing import artifact_list, version_list
from runicorn_artifacts.lookup import ARTIFACTS, Lookup
from runicorn_artifacts.manifest import ArtifactManifest, FileEntry, ReferenceEntry
from runicorn_artifacts.metadata import ArtifactMetadata
from runicorn_artifacts.naming import (
    LATEST,
    aliased_version,
    existing_version,
    is_safe_path,
    name_problem,
    version_meant,
)
from runicorn_artifacts.pool import ContentStore, Separate, pool_of
from runicorn_artifacts.saving import Description, Staged, commit_version
from runicorn_artifacts.staging import StagedFile, check_files, stage_file, stage_files, staging_folder
from runicorn_artifacts.statistics import storage_statistics

if TYPE_CHECKING:
    from runicorn_artifacts.artifact import Artifact


def create_artifact_storage(root: str | os.PathLike[str]) -> ArtifactStorage:
    """The artifacts below `root`, each content stored once."""
    return ArtifactStorage(root, enable_dedup=True)


class ArtifactStorage:
    """The artifacts below one storage root."""

    def __init__(self, root: str | os.PathLike[str], enable_dedup: bool = True) -> None:
        """Makes the folders `artifacts` and, for the contents, `artifacts/.dedup`."""
        self.storage_root = Path(root)
        self.artifacts_root = self.storage_root / ARTIFACTS
        self.enable_dedup = enable_dedup
        pool = pool_of(self.storage_root) if enable_dedup else None
        self.dedup_pool: Path | None = None if pool is None else pool.directory
        (self.dedup_pool or self.artifacts_root).mkdir(parents=True, exist_ok=True)
        self._content: ContentStore = pool or Separate()
        self._lookup = Lookup(self.storage_root)

    # ── saving ──────────────────────────────────────────────────────────────

    def save_artifact(
        self,
        artifact: Artifact,
        run_id: str,
        staged_files: Sequence[StagedFile],
        staged_references: Sequence[ReferenceEntry],
        user: str | None = None,
        *,
        aliases: Sequence[str] = (),
    ) -> int:
        """Save a new version, to which `aliases` point from then on; its number. A save that fails leaves nothing behind.

        ValueError, FileNotFoundError and TypeError for content that cannot be saved, ArtifactLocked (a TimeoutError),
        VersionExists (a RuntimeError) where a foreign folder has the next version's place; OSError as it comes.
        """
        for what, value in (("name", artifact.name), ("type", artifact.type)):
            problem = name_problem(value, what)
            if problem is not None:
                raise ValueError(problem)
        if not staged_files and not staged_references:
            raise ValueError("Artifact has no files or references to save")
        files = check_files(staged_files)
        described = Description.of(artifact)
        references = [reference.stored() for reference in staged_references]
        run_id, user = stored_json([run_id, user])
        with staging_folder(self.artifacts_root) as staging:
            version = staging / "version"
            version.mkdir()
            staged = Staged(
                path=version,
                files=stage_files(version, files, self._content),
                references=references,
                described=described,
                run_id=run_id,
                user=user,
                aliases=aliases,
            )
            metadata, manifest = commit_version(self._lookup.at(str(artifact.type), str(artifact.name)), staged)
        artifact.set_loaded(self, metadata, manifest)
        return metadata.version

    def _store_file(
        self, source: str | os.PathLike[str], artifact_path: str, dest_dir: str | os.PathLike[str]
    ) -> FileEntry:
        """Store one file by way of the pool as `dest_dir/artifact_path`, which may be outside of the store."""
        [(checked, path)] = check_files([(Path(source), artifact_path)])
        with staging_folder(self.artifacts_root) as staging:
            entry = stage_file(staging, 0, checked, path, self._content, lambda _: None)
            staged = staging.joinpath("files", *path.split("/"))
            target = Path(dest_dir).joinpath(*path.split("/"))
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.replace(staged, target)
            except OSError:  # another file system
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(target)
                copy_content(staged, target, mode=staged.stat().st_mode & 0o777)
        return entry

    def _compute_file_hash(self, path: str | os.PathLike[str]) -> str:
        """SHA-256 of a file, 64 hex digits."""
        return digest_of(Path(path))[0]

    # ── loading ─────────────────────────────────────────────────────────────

    def load_artifact(
        self, name: str, type: str | None = None, version: int | None = None, alias: str | None = None
    ) -> tuple[ArtifactMetadata, ArtifactManifest]:
        """Metadata and manifest of a version, by number or alias; without either, of the latest."""
        if version is not None and alias is not None:
            raise ValueError("Cannot specify both version and alias")
        if version is not None and (isinstance(version, bool | str) or version < 1):
            raise IllegalVersion(version)
        folder = self._lookup.find(name, _plain(type))
        if version is not None:
            return self.load_version(folder, existing_version(folder, version))
        if alias is None:
            return self.load_version(folder, version_meant(folder, LATEST))
        try:
            return self.load_version(folder, aliased_version(folder, alias))
        except AliasNotFound:
            known = f"Available aliases: {list(folder.aliases)}"
            raise ValueError(f"Alias '{alias}' not found for artifact {folder.name}. {known}") from None

    def load_version(self, folder: ArtifactFolder, version: int) -> tuple[ArtifactMetadata, ArtifactManifest]:
        """Metadata and manifest of a version that exists; a missing manifest counts as an empty one.

        UnreadableManifest if there is one that is not the one that was saved.
        """
        try:
            data = (folder.version_path(version) / METADATA_FILE).read_bytes()
        except FileNotFoundError:
            raise MetadataNotFound(folder.name, version) from None
        try:
            content = parse_json(data)
        except ValueError as error:
            raise InvalidMetadata(folder.name, version, str(error)) from None
        if not isinstance(content, dict):
            raise InvalidMetadata(folder.name, version, "not an object")
        metadata = ArtifactMetadata.from_dict(finite(content))
        metadata.name, metadata.type, metadata.version = folder.name, folder.type, version
        metadata.aliases = folder.active_aliases(version)
        if folder.is_deleted(version):
            metadata.status = "deleted"
        has_manifest = os.path.lexists(folder.version_path(version) / MANIFEST_FILE)
        return metadata, folder.saved_manifest(version) if has_manifest else ArtifactManifest()

    def download_artifact(
        self, name: str, type: str | None, version: int, target_dir: str | os.PathLike[str] | None = None
    ) -> Path:
        """Copy a version's files; the directory that holds them. See `Artifact.download`."""
        folder = self._version_folder(name, type, version)
        target = temporary_folder(name, version) if target_dir is None else Path(target_dir)
        copy_version(folder, version, target)
        return target

    def get_artifact_file_path(self, name: str, type: str | None, version: int, path: str) -> Path | None:
        """A file of a version in the store, read-only; None if there is no such file."""
        inner = os.fspath(path).replace(os.sep, "/")
        if inner.startswith("/") or os.path.isabs(path) or ".." in inner.split("/") or "\0" in inner:
            raise ValueError(f"Invalid file path (path traversal detected): {path}")
        folder = self._version_folder(name, type, version)
        if not is_safe_path(inner):
            return None
        found = folder.version_path(version).joinpath("files", *inner.split("/"))
        return found if found.is_file() else None

    def _version_folder(self, name: str, type: str | None, version: int) -> ArtifactFolder:
        try:
            folder = self._lookup.find(name, _plain(type))
        except ArtifactNotFound:
            folder = None
        if folder is None or not folder.has(version):
            raise FileNotFoundError(f"Artifact version not found: {name}:v{version}")
        return folder

    # ── listing ─────────────────────────────────────────────────────────────

    def list_artifacts(self, type: str | None = None, include_deleted: bool = False) -> list[dict[str, Any]]:
        """Every artifact (of a type), the one that was changed last first, as `GET /api/artifacts` shows them."""
        return artifact_list(self._lookup, _plain(type), include_deleted)

    def list_versions(
        self, name: str, type: str | None = None, include_deleted: bool = False
    ) -> list[ArtifactVersionInfo]:
        """The versions of an artifact, ascending."""
        return version_list(self._lookup.find(name, _plain(type)), include_deleted)

    def get_storage_stats(self, include_deleted: bool = False) -> dict[str, Any]:
        """How much there is, and how much sharing saves, as `GET /api/artifacts/stats` shows it."""
        sizes = (size for _, size in self._content.contents())
        return storage_statistics(self._lookup.artifacts(), sum(sizes), self.enable_dedup, include_deleted)

    # ── deleting ────────────────────────────────────────────────────────────

    def delete_artifact_version(self, name: str, type: str | None, version: int, soft_delete: bool = True) -> bool:
        """Mark a version as deleted, or remove it for good; False if there is no such version."""
        folder = self._existing(name, type, version)
        if folder is None:
            return False
        try:
            if soft_delete:
                deleting.soft_delete(folder, version)
            else:
                deleting.purge(folder, version, self._content)
        except VersionNotFound:
            return False
        return True

    def restore_artifact_version(self, name: str, type: str | None, version: int) -> bool:
        """Take back a soft deletion; False if there is no such version."""
        folder = self._existing(name, type, version)
        if folder is None:
            return False
        try:
            deleting.restore(folder, version)
        except VersionNotFound:
            return False
        return True

    def promote_artifact_version(
        self,
        name: str,
        type: str | None,
        version: int,
        to_stage: str,
        *,
        notes: str | None = None,
        evaluator_run_id: str | None = None,
    ) -> str:
        """Move a version to `staging`, `production`, `archived` or back; the stage that it had.

        FileNotFoundError if there is no such version; BadInput or Conflict if it cannot go there.
        """
        folder = self._version_folder(name, type, version)
        return promoting.promote(folder, version, to_stage, notes=notes, evaluator_run_id=evaluator_run_id)

    def cleanup_orphaned_dedup(self) -> int:
        """Remove all contents that no version refers to, deleted versions included; how many."""
        return deleting.remove_orphans(self.artifacts_root, self._content).contents

    @property
    def content(self) -> ContentStore:
        """Where contents are kept."""
        return self._content

    @property
    def lookup(self) -> Lookup:
        """The artifacts by name."""
        return self._lookup

    def _existing(self, name: str, type: str | None, version: int) -> ArtifactFolder | None:
        try:
            folder = self._lookup.find(name, _plain(type))
        except ArtifactNotFound:
            return None
        return folder if folder.has(version) else None


def _plain(type: str | None) -> str | None:
    """A type as plain text; the empty one is none."""
    return str(type) if type else None
