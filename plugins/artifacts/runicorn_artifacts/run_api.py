"""`Run.log_artifact` and `Run.use_artifact`: saved or loaded, and noted in the run.

The run's own stream tells it first, then `artifacts_created.json` and `artifacts_used.json` do, for readers of 0.4.0.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any, Protocol

from runicorn.plugin import (
    ARTIFACTS_CREATED_FILE,
    ARTIFACTS_USED_FILE,
    ArtifactUsed,
    Payload,
)
from runicorn_artifacts.artifact import Artifact
from runicorn_artifacts.errors import AliasNotFound
from runicorn_artifacts.manifest import ArtifactManifest
from runicorn_artifacts.naming import Reference, aliased_version, existing_version, version_spec
from runicorn_artifacts.run_lists import Known, append_entry, created_entry, logged_event
from runicorn_artifacts.storage import ArtifactStorage

logger = logging.getLogger("runicorn.artifacts")


class RecordedRun(Protocol):
    """What a run has to offer for its artifacts."""

    id: str
    run_dir: Path

    @property
    def artifact_storage(self) -> ArtifactStorage:
        """The store of its root."""
        ...

    def record(self, payload: Payload) -> None:
        """Append an event to the run's stream."""
        ...


def log_artifact(run: RecordedRun, artifact: Artifact) -> int:
    """Save what is staged as a new version, made by this run; its number. Errors: see `ArtifactStorage.save_artifact`."""
    files, references = artifact.staged
    version = run.artifact_storage.save_artifact(artifact, run.id, files, references)
    metadata, manifest = artifact.get_metadata(), artifact.get_manifest()
    if metadata is None or manifest is None:  # only a store that is none of ours returns without having loaded it
        return version
    logged = logged_event(metadata, manifest)
    _note(run, ARTIFACTS_CREATED_FILE, created_entry(logged), logged, is_known=lambda _: False)
    return version


def use_artifact(run: RecordedRun, spec: str) -> Artifact:
    """The version that `[type/]name:spec` means, loaded; that this run uses it is noted once.

    `spec` is `v3` or an alias. FileNotFoundError for what does not exist, ValueError for what cannot be meant.
    """
    storage = run.artifact_storage
    reference = Reference.read(spec)
    number = version_spec(reference.spec)
    if number is not None and number < 1:
        raise ValueError(f"Invalid version format: {reference.spec}")
    folder = storage.lookup.find(reference.name, reference.type)
    try:
        version = aliased_version(folder, reference.spec) if number is None else existing_version(folder, number)
    except AliasNotFound:
        if reference.spec[0] in "vV":
            raise ValueError(f"Invalid version format: {reference.spec}") from None
        raise
    metadata, manifest = storage.load_version(folder, version)
    if folder.is_deleted(version):
        logger.warning("%s:v%d is deleted, and used nevertheless", folder.name, version)
    artifact = Artifact.loaded(storage, metadata, manifest)
    used = ArtifactUsed(
        name=folder.name,
        type=folder.type,
        version=version,
        used_at=time.time(),
        size_bytes=_file_bytes(manifest),
        num_files=metadata.num_files,
    )
    entry = {
        "name": used.name,
        "type": used.type,
        "version": used.version,
        "used_at": used.used_at,
        "size_bytes": used.size_bytes,
        "num_files": used.num_files,
    }
    identity = (used.type, used.name, used.version)
    _note(
        run,
        ARTIFACTS_USED_FILE,
        entry,
        used,
        is_known=lambda known: (known.get("type"), known.get("name"), known.get("version")) == identity,
    )
    return artifact


def _file_bytes(manifest: ArtifactManifest) -> int:
    return sum(file.size for file in manifest.files)


def _note(run: RecordedRun, file: str, entry: dict[str, Any], event: Payload, is_known: Known) -> None:
    """Append to a list of the run, unless it is known. Never raises: what was saved or loaded stands."""
    try:
        append_entry(run.run_dir / file, entry, is_known, before=lambda: run.record(event))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        logger.warning("that the run %s has %s cannot be noted in %s: %s", run.id, entry["name"], file, reason)
