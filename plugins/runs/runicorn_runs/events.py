"""Events of the store stream about runs: what was observed and found out; what people decide is `runicorn.events.decided`.

`run` is the run's key, its path below the root; `run_id` stands beside it for people and for other programs.
"""

from __future__ import annotations

from typing import ClassVar

from runicorn.plugin import DECIDED_EVENTS, Payload, RunImported, RunLost, RunMirrored, RunObserved


class RunVanished(Payload, frozen=True, kw_only=True):
    """The run directory is gone, removed by hand or by another program."""

    event_type: ClassVar[str] = "run.vanished"
    run: str
    run_id: str
    observed_at: float


STORE_EVENTS: tuple[type[Payload], ...] = (RunObserved, RunMirrored, RunVanished, RunLost, RunImported, *DECIDED_EVENTS)
