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
    their turn once, however fast new ones come in. So do those that `begin` is given: they are asked for when it is their
    turn, a hundred thousand need not be in memory for it.
    """

    def __init__(self) -> None:
        self._since: dict[K, float] = {}
        self._first_round: set[K] = set()
        self._ahead: Iterator[K] = iter(())
        self._left_ahead = 0

    def __len__(self) -> int:
        return len(self._since) + self._left_ahead

    def __contains__(self, item: K) -> bool:
        return item in self._since

    def __iter__(self) -> Iterator[K]:
        return iter(self._since)

    def begin(self, ahead: Iterable[K] = (), count: int = 0) -> None:
        """Let the first round be what is waiting now, and about `count` items that are still `ahead`."""
        self._first_round = set(self._since)
        self._ahead, self._left_ahead = iter(ahead), count

    @property
    def is_past_first_round(self) -> bool:
        """Whether everything that was waiting at `begin` has been done."""
        return not self._first_round and not self._left_ahead

    def add(self, item: K) -> None:
        """Queue `item`, unless it is waiting already."""
        self._since.setdefault(item, time.monotonic())

    def first(self, count: int) -> list[K]:
        """The next `count` items; they stay until they are `done`."""
        if self._left_ahead:
            # Half of the turns at least: what is put off again and again does not keep the others waiting.
            items = list(islice(self._since, count // 2))
            return [*items, *self._fetch(count - len(items))]
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

    def _fetch(self, count: int) -> list[K]:
        """Queue up to `count` of the items ahead that are not waiting already."""
        items = list(islice(self._ahead, count))
        self._left_ahead = max(1, self._left_ahead - count) if len(items) == count else 0
        new = [item for item in items if item not in self._since]
        for item in new:
            self.add(item)
        self._first_round.update(new)
        return new
