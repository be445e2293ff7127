"""Event types about artifacts.

Those of an artifact's own stream are appended under its lock by whoever changes it; `artifact.observed` and
`artifact.version_observed` are in the store stream, and say what files of 0.4.0 were seen to say.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from runicorn.plugin import Decision, Payload
from runicorn_artifacts.manifest import ArtifactManifest, reference_bytes
from runicorn_artifacts.metadata import ArtifactMetadata


class VersionRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What `metadata.json` and `manifest.json` say of a version for good."""

    created_at: float
    updated_at: float
    created_by_run: str = ""
    created_by_user: str | None = None
    size_bytes: int = 0
    """Known sizes of references included."""
    reference_bytes: int = 0
    file_bytes: int = 0
    num_files: int = 0
    num_references: int = 0
    metadata: dict[str, Any] = {}
    description: str = ""
    tags: list[str] = []
    parent_artifacts: list[str] = []
    manifest_digest: str | None = None
    is_damaged: bool = False
    """Its metadata or manifest cannot be read, or are not those that were saved."""
    has_metadata: bool = True
    """False if its metadata cannot be read: then the other fields are what the index says."""

    @classmethod
    def of(
        cls,
        metadata: ArtifactMetadata,
        manifest: ArtifactManifest,
        *,
        is_damaged: bool = False,
        has_metadata: bool = True,
    ) -> VersionRecord:
        """From what the two files hold."""
        return cls(
            created_at=metadata.created_at,
            updated_at=metadata.updated_at,
            created_by_run=metadata.created_by_run,
            created_by_user=metadata.created_by_user,
            size_bytes=metadata.size_bytes,
            reference_bytes=reference_bytes(manifest.references),
            file_bytes=sum(file.size for file in manifest.files),
            num_files=metadata.num_files,
            num_references=metadata.num_references,
            metadata=metadata.metadata,
            description=metadata.description,
            tags=metadata.tags,
            parent_artifacts=metadata.parent_artifacts,
            manifest_digest=metadata.manifest_digest,
            is_damaged=is_damaged,
            has_metadata=has_metadata,
        )


class ArtifactPayload(Payload, frozen=True, kw_only=True):
    """Base: an event about the artifact `(type, name)`."""

    type: str
    name: str


class ArtifactDecision(Decision, frozen=True, kw_only=True):
    """Base: what somebody decided about the artifact `(type, name)`, and who that was."""

    type: str
    name: str


class VersionCreated(ArtifactPayload, frozen=True, kw_only=True):
    """A version was saved. It is complete, and never changes."""

    event_type: ClassVar[str] = "artifact.version_created"
    version: int
    record: VersionRecord


class ArtifactAliased(ArtifactDecision, frozen=True, kw_only=True):
    """An alias points to a version now; to none if that is None. `latest` follows from the versions and has no events."""

    event_type: ClassVar[str] = "artifact.aliased"
    alias: str
    version: int | None


class VersionDeleted(ArtifactDecision, frozen=True, kw_only=True):
    """A version was marked as deleted; it can be restored."""

    event_type: ClassVar[str] = "artifact.deleted"
    version: int
    deleted_at: float


class VersionRestored(ArtifactDecision, frozen=True, kw_only=True):
    """A version is no longer deleted."""

    event_type: ClassVar[str] = "artifact.restored"
    version: int


class VersionPurged(ArtifactDecision, frozen=True, kw_only=True):
    """A version was removed for good. Its number is never used again."""

    event_type: ClassVar[str] = "artifact.purged"
    version: int


class VersionPromoted(ArtifactDecision, frozen=True, kw_only=True):
    """A version was moved to another stage of its life."""

    event_type: ClassVar[str] = "artifact.promoted"
    version: int
    from_stage: str
    to_stage: str
    notes: str | None = None
    evaluator_run_id: str | None = None


class VersionEvaluated(ArtifactDecision, frozen=True, kw_only=True):
    """A version was evaluated; the fields are those of the record below `evaluations`."""

    event_type: ClassVar[str] = "artifact.evaluated"
    version: int
    eval_id: str
    status: str
    metrics: dict[str, float]
    evaluator_run_id: str | None = None
    test_dataset: str | None = None
    notes: str | None = None


class ArtifactObserved(ArtifactPayload, frozen=True, kw_only=True):
    """The index of an artifact says something new. `aliases` has what changed: the target, None if there is none."""

    event_type: ClassVar[str] = "artifact.observed"
    artifact: str
    """The artifact's key, its path below the root."""
    is_present: bool
    aliases: dict[str, int | None] = msgspec.field(default_factory=dict[str, int | None])
    created_at: float | None = None
    updated_at: float | None = None
    observed_at: float


class VersionObserved(ArtifactPayload, frozen=True, kw_only=True):
    """The files of a version say something new. `record` is None if the version is gone."""

    event_type: ClassVar[str] = "artifact.version_observed"
    artifact: str
    version: int
    record: VersionRecord | None
    deleted_at: float | None = None
    stage: str | None = None
    stage_changed_at: float | None = None
    observed_at: float


ARTIFACT_EVENTS: tuple[type[ArtifactPayload | ArtifactDecision], ...] = (
    VersionCreated,
    ArtifactAliased,
    VersionDeleted,
    VersionRestored,
    VersionPurged,
    VersionPromoted,
    VersionEvaluated,
)
NO_UPDATES = (ArtifactAliased, VersionEvaluated)
"""These are no change of the artifact: its `updated_at` stays."""

OBSERVED_EVENTS: tuple[type[ArtifactPayload], ...] = (ArtifactObserved, VersionObserved)
