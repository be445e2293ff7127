"""How long V2 queries took lately."""

from __future__ import annotations

from collections import deque

from runicorn.plugin import Store

_KEPT = 1000


class QueryTimes:
    """The last 1000 queries of a store in this process, in milliseconds; and how often SQLite found a page in memory."""

    def __init__(self, store: Store) -> None:
        self._times: deque[float] = deque(maxlen=_KEPT)

    def add(self, milliseconds: float) -> float:
        """Note a query; its time as answers show it."""
        shown = round(milliseconds, 2)
        self._times.append(shown)
        return shown

    @property
    def mean_ms(self) -> float:
        """0.0 before the first query."""
        return round(sum(self._times) / len(self._times), 2) if self._times else 0.0
