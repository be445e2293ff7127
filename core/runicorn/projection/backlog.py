"""What the projector has still to do: streams that changed, and run directories to look at."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterable, Iterator
from itertools import islice
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Backlog(Generic[K]):
    """Things to do, in the order in which they get their turn; each is in it once.

    Whatever is in it when `begin` is called belongs to the first round: the first build is complete when those have had
    their turn once, however fast new ones come in.
    """

    def __init__(self) -> None:
        self._since: dict[K, float] = {}
        self._first_round: set[K] = set()

    def __len__(self) -> int:
        return len(self._since)

    def __contains__(self, item: K) -> bool:
        return item in self._since

    def __iter__(self) -> Iterator[K]:
        return iter(self._since)

    def begin(self) -> None:
        """Let the first round be what is waiting now."""
        self._first_round = set(self._since)

    @property
    def is_past_first_round(self) -> bool:
        """Whether everything that was waiting at `begin` has been done."""
        return not self._first_round

    def add(self, item: K) -> None:
        """Queue `item`, unless it is waiting already."""
        self._since.setdefault(item, time.monotonic())

    def first(self, count: int) -> list[K]:
        """The next `count` items; they stay until they are `done`."""
        return list(islice(self._since, count))

    def done(self, items: Iterable[K]) -> None:
        """Nothing is left to do for these."""
        for item in items:
            self._since.pop(item, None)
            self._first_round.discard(item)

    def again(self, item: K) -> None:
        """Something is left to do: to the end of the queue, so that one long stream holds up no other."""
        since = self._since.pop(item, None)
        self._since[item] = time.monotonic() if since is None else since

    @property
    def lag_s(self) -> float:
        """For how long the oldest item has been waiting; 0 if nothing is."""
        oldest = min(self._since.values(), default=None)
        return 0.0 if oldest is None else time.monotonic() - oldest
