"""How many requests to have in flight: as many as the link takes, and not so many that others wait behind them.

All channels of a connection share one stream. What a server has sent for a large file is in front of its answers to everybody
else: two megabytes on a link of 1 Mbit/s are in front of them for a quarter of a minute, which they would take for silence.
So the requests become fewer when answers take longer than the link needs (as in LEDBAT, RFC 6817, and with the same idea).
"""

from __future__ import annotations

import time
from collections import deque

_FIRST = 8
_LEAST = 2
_QUEUED_S = 0.25
"""How long answers may wait behind those before them."""


class Window:
    """For one thread: `has_sent` for each request, `was_answered` for each answer, in the same order."""

    def __init__(self, most: int) -> None:
        self.size = min(_FIRST, most)
        """How many requests there may be in flight now."""
        self._most = most
        self._sent: deque[float] = deque()
        self._shortest_s = float("inf")
        self._held = 0
        """Answers to requests that were sent before the size was last made smaller: they tell nothing new."""

    def has_sent(self) -> None:
        """A request is under way."""
        self._sent.append(time.monotonic())

    def was_answered(self) -> None:
        """The first of the requests that are under way has its answer."""
        took_s = time.monotonic() - self._sent.popleft()
        self._shortest_s = min(self._shortest_s, took_s)
        if self._held:
            self._held -= 1
        elif took_s > self._shortest_s + _QUEUED_S:
            self.size, self._held = max(_LEAST, self.size // 2), len(self._sent)
        else:
            self.size = min(self._most, self.size + 1)

    def forget(self) -> None:
        """The answers to all requests that are under way were dropped."""
        self._sent.clear()
        self._held = 0
