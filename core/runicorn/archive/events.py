"""What an import tells the store stream."""

from __future__ import annotations

from typing import ClassVar

from runicorn.events.actor import Decision


class RunImported(Decision, frozen=True, kw_only=True):
    """The run came out of an archive. With `replaced`, it took the place of a run that was there before."""

    event_type: ClassVar[str] = "run.imported"
    run: str
    run_id: str
    replaced: bool = False
