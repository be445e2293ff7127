"""How long a mirror that cannot go on waits before it tries again."""

from __future__ import annotations

import random

_FIRST_S = 1.0
_MAX_S = 60.0
_SPREAD = 0.2
"""Many mirrors of one server must not come back at the same moment."""


class Pauses:
    """1, 2, 4 … 60 seconds, ± 20 %."""

    def __init__(self) -> None:
        self._next_s = _FIRST_S

    def reset(self) -> None:
        """Begin with the shortest one again."""
        self._next_s = _FIRST_S

    def next_s(self) -> float:
        """The seconds of the next pause."""
        pause_s, self._next_s = self._next_s, min(2 * self._next_s, _MAX_S)
        return pause_s * random.uniform(1 - _SPREAD, 1 + _SPREAD)
