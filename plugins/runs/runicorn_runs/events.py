"""Events of the store stream about runs: what was observed in files, and what was decided about runs.

`run` is the run's key, its path below the root; `run_id` stands beside it for people and for other programs.
"""

from __future__ import annotations

from typing import Any, ClassVar

from runicorn.plugin import FAILED, Payload


class RunObserved(Payload, frozen=True, kw_only=True):
    """A file of a run directory says something new. `file` is its name; empty for the directory itself.

    `content` is the JSON object in the file (`{}` if it has none; for the directory its modification time as `mtime`),
    None if the file is gone.
    """

    event_type: ClassVar[str] = "run.observed"
    run: str
    run_id: str
    file: str
    content: dict[str, Any] | None
    observed_at: float


class RunVanished(Payload, frozen=True, kw_only=True):
    """The run directory is gone, removed by hand or by another program."""

    event_type: ClassVar[str] = "run.vanished"
    run: str
    run_id: str
    observed_at: float


class RunLost(Payload, frozen=True, kw_only=True):
    """The training process is gone without having ended its run. `status` and `exit_reason` are what the run has now."""

    event_type: ClassVar[str] = "run.lost"
    run: str
    run_id: str
    ended_at: float
    status: str = FAILED
    exit_reason: str = "process_not_found"


STORE_EVENTS: tuple[type[Payload], ...] = (RunObserved, RunVanished, RunLost)
