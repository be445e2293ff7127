"""Deleting versions: marked and taken back, or for good; and contents that nobody refers to any more."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec

from runicorn.plugin import LockTimeout, RunicornError, dump_json, file_lock
from runicorn_artifacts.changing import LOCK_S, Change, changing
from runicorn_artifacts.errors import ArtifactLocked, VersionNotFound
from runicorn_artifacts.events import ArtifactAliased, VersionDeleted, VersionPurged, VersionRestored
from runicorn_artifacts.folder import FILES, LOCK_FILE, MANIFEST_FILE, MARKER_FILE, ArtifactFolder
from runicorn_artifacts.pool import ContentStore
from runicorn_artifacts.staging import staging_folder

logger = logging.getLogger("runicorn.artifacts")

_DIGEST = re.compile(rb"sha256:([0-9a-fA-F]{64})")


class NotRemovable(RunicornError):
    """The files of a version cannot be moved away; the version stays."""

    status = 500

    def __init__(self, name: str, version: int) -> None:
        super().__init__(f"Could not delete {name}:v{version}")


class Freed(msgspec.Struct, frozen=True):
    """What a cleanup removed."""

    contents: int
    size_bytes: int


def soft_delete(folder: ArtifactFolder, version: int) -> None:
    """Mark a version as deleted. Nothing happens if it is; VersionNotFound if there is no such version."""
    with changing(folder) as change:
        _check(change.folder, version)
        if not change.folder.is_deleted(version):
            mark_deleted(change, version, change.ts)


def restore(folder: ArtifactFolder, version: int) -> None:
    """Take back a soft deletion. Nothing happens if there is none; VersionNotFound if there is no such version."""
    with changing(folder) as change:
        _check(change.folder, version)
        if change.folder.is_deleted(version):
            mark_restored(change, version)


def mark_deleted(change: Change, version: int, deleted_at: float) -> None:
    """Let an existing version be marked as deleted since then."""
    folder = change.folder
    change.tell(VersionDeleted(type=folder.type, name=folder.name, version=version, deleted_at=deleted_at))
    marker = {
        "deleted_at": deleted_at,
        "deleted_by": "user",
        "version": version,
        "artifact_name": folder.name,
    }
    change.write(folder.version_path(version) / MARKER_FILE, dump_json(marker))
    _set_status(change, version, "deleted")


def mark_restored(change: Change, version: int) -> None:
    """Let the mark of an existing version be taken away."""
    folder = change.folder
    change.tell(VersionRestored(type=folder.type, name=folder.name, version=version))
    change.write(folder.version_path(version) / MARKER_FILE, None)
    _set_status(change, version, "ready")


def purge(folder: ArtifactFolder, version: int, content: ContentStore) -> int:
    """Remove a version for good, and the contents that only it had; the bytes that were freed.

    Contents that somebody else looks after for too long stay for `remove_orphans`: the version is gone nevertheless.
    VersionNotFound if there is no such version, NotRemovable if its files cannot be moved away, ArtifactLocked if it is
    being changed, OSError as it comes; then it stays.
    """
    base = folder.path.parent.parent
    with staging_folder(base) as staging:
        gone = staging / "version"
        with changing(folder) as change:
            _check(change.folder, version)
            change.move(folder.version_path(version), gone, refusal=NotRemovable(folder.name, version))
            for alias in change.index.remove(version):
                change.tell(ArtifactAliased(type=folder.type, name=folder.name, alias=alias, version=None))
            change.tell(VersionPurged(type=folder.type, name=folder.name, version=version))
        digests = set(_digests_in(gone / MANIFEST_FILE))
        freed = _remove_tree(gone)
        try:
            freed += remove_orphans(base, content, digests).size_bytes
        except ArtifactLocked:
            logger.warning(
                "%s:v%d is removed, its contents are not: another cleanup is at work. `runicorn artifacts gc` removes them",
                folder.name,
                version,
            )
    return freed


def remove_orphans(base: Path, content: ContentStore, candidates: set[str] | None = None) -> Freed:
    """Remove contents (out of `candidates`, else out of all) that no version refers to. ArtifactLocked if others do."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(file_lock(base / LOCK_FILE, timeout_s=LOCK_S))
        except LockTimeout as error:
            raise ArtifactLocked("contents", LOCK_S) from error
        left = {digest for digest, _ in content.contents()} if candidates is None else set(candidates)
        for manifest in _manifests(base):
            if not left:
                break
            left.difference_update(_digests_in(manifest))
        removed = [content.remove(digest) for digest in sorted(left)]
    return Freed(len(removed), sum(removed))


def orphans(base: Path, content: ContentStore) -> Freed:
    """What `remove_orphans` would remove now."""
    kept = dict(content.contents())
    for manifest in _manifests(base):
        for digest in _digests_in(manifest):
            kept.pop(digest, None)
    return Freed(len(kept), sum(kept.values()))


def _check(folder: ArtifactFolder, version: int) -> None:
    if not folder.has(version):
        raise VersionNotFound(folder.name, version)


def _set_status(change: Change, version: int, status: str) -> None:
    item = change.index.item(version)
    if item is not None:
        item.status = status


def _manifests(base: Path) -> Iterator[Path]:
    """The manifests of all versions, also of those whose index is damaged, and of folders that are no versions of ours."""
    for type in _folders(base):
        for name in _folders(type):
            for version in _folders(name):
                yield version / MANIFEST_FILE


def _folders(path: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError), os.scandir(path) as entries:
        for entry in entries:
            if not entry.name.startswith(".") and entry.is_dir():
                yield Path(entry.path)


def _digests_in(manifest: Path) -> Iterator[str]:
    """Every digest that the text of a manifest has, whatever else is wrong with it."""
    with contextlib.suppress(OSError):
        for match in _DIGEST.finditer(manifest.read_bytes()):
            yield match[1].decode().lower()


def _remove_tree(path: Path) -> int:
    """Remove the folder of a version; the bytes of its content that had no other link."""
    freed = 0
    for directory, _, names in os.walk(path / FILES):
        for name in names:
            with contextlib.suppress(OSError):
                found = os.lstat(os.path.join(directory, name))
                if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
                    freed += found.st_size
    shutil.rmtree(path, ignore_errors=True)
    return freed
