"""Which events are about an artifact, and which of its fields they set.

`versions` holds, by `v3.exists`, `v3.deleted_at` and `v3.stage`, what is said of versions; `aliases` their targets.
"""

from __future__ import annotations

from collections.abc import Mapping

from runicorn.plugin import EventPositions
from runicorn_artifacts.events import (
    ARTIFACT_EVENTS,
    ArtifactAliased,
    ArtifactObserved,
    VersionCreated,
    VersionDeleted,
    VersionEvaluated,
    VersionObserved,
    VersionPromoted,
    VersionPurged,
    VersionRestored,
)

VERSIONS = "versions"
ALIASES = "aliases"

_VERSION = {VERSIONS: False}
SETS: Mapping[str, Mapping[str, bool]] = {
    # The order is stored: append only, or raise the version of `artifact_history`.
    VersionCreated.event_type: _VERSION,
    ArtifactAliased.event_type: {ALIASES: False},
    VersionDeleted.event_type: _VERSION,
    VersionRestored.event_type: _VERSION,
    VersionPurged.event_type: _VERSION,
    VersionPromoted.event_type: _VERSION,
    VersionEvaluated.event_type: {},
    ArtifactObserved.event_type: {ALIASES: False, "exists": True},
    VersionObserved.event_type: _VERSION,
}
"""By label, the fields that an event sets some keys of; True: as a whole."""

ARTIFACT_HISTORY = EventPositions(
    "artifact_history",
    version=1,
    kind="artifact",
    subject="artifact",
    labels=tuple(SETS),
    own=frozenset(event.event_type for event in ARTIFACT_EVENTS),
)
