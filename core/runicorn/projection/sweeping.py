"""Looking at everything, slowly: what no notice tells is found within seconds, at little cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

_SLICE_S = 0.005
_SHARE = 0.1
_FIRST_PAUSE_S = 1.0
_LAST_PAUSE_S = 10.0
_PAUSE_PER_WORK = 20.0


class Sweep:
    """Runs rounds of `everything`, an iterator that looks at one thing for each `next`.

    A round gets a tenth of the time; after it there is a pause of twenty times what it took, between 1 and 10 s. Ten
    thousand finished runs so cost about 3 % of a processor, and a late change to one of them shows after some seconds.
    """

    def __init__(self, everything: Callable[[], Iterator[None]]) -> None:
        self._everything = everything
        self._round: Iterator[None] | None = None
        self._spent = 0.0
        self._next = 0.0

    def work(self, is_interrupted: Callable[[], bool]) -> float:
        """Do a slice, if it is time; the seconds until the next one is due. Stops as soon as something is found."""
        now = time.monotonic()
        if now < self._next:
            return self._next - now
        if self._round is None:
            self._round, self._spent = self._everything(), 0.0
        deadline = now + _SLICE_S
        for _ in self._round:
            if is_interrupted() or time.monotonic() >= deadline:
                break
        else:
            self._round = None
        spent = time.monotonic() - now
        self._spent += spent
        if self._round is None:
            pause = min(max(_FIRST_PAUSE_S, _PAUSE_PER_WORK * self._spent), _LAST_PAUSE_S)
        else:
            pause = spent / _SHARE
        self._next = now + pause
        return pause
