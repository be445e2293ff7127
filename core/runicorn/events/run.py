"""Events of a run stream: what the training process says about its own run.

`metrics` and `image` keep the exact shape of 0.4.0, so 0.4.0 reads our runs; it skips the other types.
"""

from __future__ import annotations

from typing import Any, ClassVar

from runicorn.events.envelope import Payload

METRICS = "metrics"
"""Type of the events that carry metric values. `data` is the user's keys, `global_step`, `time`, `stage`: no struct."""


class ImageLogged(Payload, frozen=True, kw_only=True):
    """An image file was added to the run; `path` is relative to the run directory."""

    event_type: ClassVar[str] = "image"
    key: str
    path: str
    step: int | None = None
    caption: str | None = None


class RunCreated(Payload, frozen=True, kw_only=True):
    """`init` was called, for a new run or again for an existing id. The run is `running` from here on.

    The fields are those of `meta.json` (contract: runs §1), without the absolute directory.
    """

    event_type: ClassVar[str] = "run.created"
    run_id: str
    project: str
    name: str
    created_at: float
    python: str | None = None
    platform: str | None = None
    hostname: str | None = None
    pid: int | None = None
    pid_started_at: float | None = None
    boot_id: str | None = None
    pid_start_ticks: int | None = None
    pid_ns: int | None = None


class RunSummarized(Payload, frozen=True, kw_only=True):
    """Keys of the run's summary were set; `update` is merged shallowly into what was there."""

    event_type: ClassVar[str] = "run.summarized"
    update: dict[str, Any]


class RunConfigured(Payload, frozen=True, kw_only=True):
    """Parameters of the training were set; `config` is merged shallowly into what was there."""

    event_type: ClassVar[str] = "run.configured"
    config: dict[str, Any]


class RunFinished(Payload, frozen=True, kw_only=True):
    """The training process ended the run itself; a killed process leaves no such event."""

    event_type: ClassVar[str] = "run.finished"
    status: str
    ended_at: float
    exit_reason: str | None = None


class ArtifactLogged(Payload, frozen=True, kw_only=True):
    """The run has made a version of an artifact; the fields are those of an entry of `artifacts_created.json`."""

    event_type: ClassVar[str] = "artifact.logged"
    name: str
    type: str
    version: int
    created_at: float
    size_bytes: int
    """Of its files; data that is only referred to does not count."""
    num_files: int
    num_references: int = 0


class ArtifactUsed(Payload, frozen=True, kw_only=True):
    """The run has used a version for the first time; the fields are those of an entry of `artifacts_used.json`."""

    event_type: ClassVar[str] = "artifact.used"
    name: str
    type: str
    version: int
    used_at: float
    size_bytes: int
    num_files: int


RUN_EVENTS: tuple[type[Payload], ...] = (
    ImageLogged,
    RunCreated,
    RunConfigured,
    RunSummarized,
    RunFinished,
    ArtifactLogged,
    ArtifactUsed,
)
