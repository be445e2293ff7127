"""Events of the store stream about runs that somebody decided: what the recycle bin holds, and what people say about runs.

`run` is the run's key, its path below the root; `run_id` stands beside it for people and for other programs. Each event
carries the whole new value, so the latest one counts whatever came before.
"""

from __future__ import annotations

from typing import ClassVar

from runicorn.events.actor import Decision


class RunDecision(Decision, frozen=True, kw_only=True):
    """Base of the events below: which run it is about, and who decided it."""

    run: str
    run_id: str


class RunDeleted(RunDecision, frozen=True, kw_only=True):
    """The run is in the recycle bin. The fields are those of its marker `.deleted` (contract: runs §1)."""

    event_type: ClassVar[str] = "run.deleted"
    deleted_at: float
    reason: str
    original_status: str


class RunRestored(RunDecision, frozen=True, kw_only=True):
    """The run is out of the recycle bin, as it was before."""

    event_type: ClassVar[str] = "run.restored"


class RunPurged(RunDecision, frozen=True, kw_only=True):
    """The run is removed for good, with all that people said about it. Artifacts that it made stay."""

    event_type: ClassVar[str] = "run.purged"


class RunTagged(RunDecision, frozen=True, kw_only=True):
    """The run has these tags and no others."""

    event_type: ClassVar[str] = "run.tagged"
    tags: list[str]


class RunDescribed(RunDecision, frozen=True, kw_only=True):
    """The run has this description; None: it has none."""

    event_type: ClassVar[str] = "run.described"
    description: str | None


class RunArchived(RunDecision, frozen=True, kw_only=True):
    """Whether the run is archived: searches show it only if asked for, and clean-ups leave it alone."""

    event_type: ClassVar[str] = "run.archived"
    archived: bool


class RunPinned(RunDecision, frozen=True, kw_only=True):
    """Whether the run is pinned: it is neither cleaned up nor, without force, removed for good."""

    event_type: ClassVar[str] = "run.pinned"
    pinned: bool


DECIDED_EVENTS: tuple[type[RunDecision], ...] = (
    RunDeleted,
    RunRestored,
    RunPurged,
    RunTagged,
    RunDescribed,
    RunArchived,
    RunPinned,
)
