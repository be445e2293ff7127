"""Which events are about a run, and which of its fields they set."""

from __future__ import annotations

from collections.abc import Mapping

from runicorn.plugin import (
    ARTIFACTS_CREATED_FILE,
    ARTIFACTS_USED_FILE,
    DELETED_FILE,
    META_FILE,
    METADATA_FILE,
    METRICS,
    STATUS_FILE,
    SUMMARY_FILE,
    ArtifactLogged,
    ArtifactUsed,
    EventPositions,
    ImageLogged,
    RunArchived,
    RunConfigured,
    RunCreated,
    RunDeleted,
    RunDescribed,
    RunFinished,
    RunImported,
    RunLost,
    RunMirrored,
    RunObserved,
    RunPinned,
    RunPurged,
    RunRestored,
    RunSummarized,
    RunTagged,
)
from runicorn_runs.events import RunVanished
from runicorn_runs.facts import DIRECTORY

IMAGE = ImageLogged.event_type
PROCESS = "process"
"""A field that no change is told of: which process speaks in the run's own stream."""

_STATUS = {"status": True, "exit_reason": True}
_META = {"project": True, "name": True, PROCESS: True}
_SAID = {"tags": True, "description": True, "archived": True, "pinned": True}


def observed(file: str) -> str:
    """The label of `run.observed` for a file."""
    return f"{RunObserved.event_type}:{file}"


SETS: Mapping[str, Mapping[str, bool]] = {
    # The order is stored: append only, or raise the version of `run_history`.
    RunCreated.event_type: {**_STATUS, **_META, "exists": True},
    RunConfigured.event_type: {"config": False},
    RunSummarized.event_type: {"summary": False},
    RunFinished.event_type: _STATUS,
    ArtifactLogged.event_type: {},
    ArtifactUsed.event_type: {},
    RunDeleted.event_type: {"deleted": True, "exists": True},
    RunRestored.event_type: {"deleted": True},
    RunPurged.event_type: {"exists": True, "label": True, **_SAID},
    RunTagged.event_type: {"tags": True},
    RunDescribed.event_type: {"description": True},
    RunArchived.event_type: {"archived": True},
    RunPinned.event_type: {"pinned": True},
    RunMirrored.event_type: {"source": True},
    RunVanished.event_type: {"exists": True},
    RunLost.event_type: _STATUS,
    RunImported.event_type: {},
    observed(DIRECTORY): {"exists": True},
    observed(META_FILE): _META,
    observed(STATUS_FILE): _STATUS,
    observed(SUMMARY_FILE): {"summary": True},
    observed(DELETED_FILE): {"deleted": True},
    observed(ARTIFACTS_CREATED_FILE): {"artifacts_created": True},
    observed(ARTIFACTS_USED_FILE): {"artifacts_used": True},
    observed(METADATA_FILE): {"label": True, **_SAID},
}
"""By label, the fields that an event sets: as a whole (True), or some keys of them."""

OWN = frozenset(
    {
        RunConfigured.event_type,
        RunSummarized.event_type,
        RunFinished.event_type,
        ArtifactLogged.event_type,
        ArtifactUsed.event_type,
    }
)
"""What the training process says after `run.created`."""

RUN_HISTORY = EventPositions(
    "run_history",
    version=1,
    kind="run",
    subject="run",
    labels=tuple(SETS),
    own=OWN | {RunCreated.event_type},
    masses=frozenset({METRICS, IMAGE}),
)
