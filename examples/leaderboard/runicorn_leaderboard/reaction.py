"""After the commit: something for people. Called at least once for every event, so it only says what it sees."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from runicorn.plugin import LocatedEvent

logger = logging.getLogger("runicorn.leaderboard")


def congratulate(events: Sequence[LocatedEvent]) -> None:
    """One log line for every run that ended by itself."""
    for committed in events:
        if committed.event.type == "run.finished":
            logger.info("run %s has finished: see /api/leaderboard", committed.stream.name)
