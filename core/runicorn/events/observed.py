"""Events of the store stream about files of a run that are no event stream: what they were seen to say."""

from __future__ import annotations

from typing import Any, ClassVar

from runicorn.events.envelope import Payload


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
