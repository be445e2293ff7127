"""Recording what was observed, in the process for which everybody waits: it waits for nobody for long."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from runicorn.errors import StorageUnavailable
from runicorn.events.envelope import Payload
from runicorn.events.log import Stream
from runicorn.events.store import StoreStream

logger = logging.getLogger("runicorn.projection")

OBSERVING_LOCK_S = 0.2
"""How long an append of what was observed waits for the lock of the store stream: some appends of others."""

_PAUSE_S = 1.0


class ObservedEvents:
    """Appends to a store stream, which has a short timeout. After a failure it rests for a moment."""

    def __init__(self, store: StoreStream) -> None:
        self._store = store
        self._rests_until = 0.0

    def append(self, events: Sequence[tuple[float | None, Payload]]) -> Stream | None:
        """Append events with one write; the stream, or None if nothing was recorded: then it is to be observed again."""
        if time.monotonic() < self._rests_until:
            return None
        try:
            return self._store.append_at(events)[0]
        except StorageUnavailable as error:
            self._rests_until = time.monotonic() + _PAUSE_S
            cause = error.__cause__
            reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else error
            logger.warning("what was observed is not recorded: %s", reason)
            return None
