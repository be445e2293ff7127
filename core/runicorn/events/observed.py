"""Events of the store stream about what was seen of a run: what its files say, where it comes from, that it died."""

from __future__ import annotations

from typing import Any, ClassVar

from runicorn.events.envelope import Payload
from runicorn.run_files import FAILED


class RunObserved(Payload, frozen=True, kw_only=True):
    """A file of a run directory says something new. `file` is its name; empty for the directory itself.

    `run` is the run's key, its path below the root. `content` is the JSON object in the file (`{}` if it has none; for the
    directory its modification time as `mtime`), None if the file is gone.
    """

    event_type: ClassVar[str] = "run.observed"
    run: str
    run_id: str
    file: str
    content: dict[str, Any] | None
    observed_at: float


class RunMirrored(Payload, frozen=True, kw_only=True):
    """The run belongs to another machine, `source` (`user@host:port`); what is here is brought from there."""

    event_type: ClassVar[str] = "run.mirrored"
    run: str
    run_id: str
    source: str


class RunLost(Payload, frozen=True, kw_only=True):
    """The training process is gone without having ended its run. `status` and `exit_reason` are what the run has now."""

    event_type: ClassVar[str] = "run.lost"
    run: str
    run_id: str
    ended_at: float
    status: str = FAILED
    exit_reason: str = "process_not_found"
