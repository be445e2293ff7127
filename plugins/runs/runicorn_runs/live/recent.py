"""The last notices, numbered without gaps: each client has a place in them instead of a queue of its own."""

from __future__ import annotations

from collections.abc import Iterator

from runicorn_runs.live.notices import Notice

MAX_NOTICES = 20_000
MAX_BYTES = 16 << 20
_SMALL = 1000  # bytes of a notice without data


class Recent:
    """A bounded buffer; what is oldest goes first. `floor` is the newest commit of which something may be missing."""

    def __init__(
        self, floor: int, *, base: int = 0, max_notices: int = MAX_NOTICES, max_bytes: int = MAX_BYTES
    ) -> None:
        self.floor = floor
        self._max_notices = max_notices
        self._max_bytes = max_bytes
        self._notices: list[Notice | None] = []
        self._gone = 0  # leading entries of the list that are let go
        self._base = base  # number of the list's first entry
        self._bytes = 0

    @property
    def start(self) -> int:
        """The place of the oldest notice."""
        return self._base + self._gone

    @property
    def end(self) -> int:
        """The place of the next notice."""
        return self._base + len(self._notices)

    def append(self, notice: Notice) -> int:
        """Add a notice; its place."""
        self._notices.append(notice)
        self._bytes += _size(notice)
        while self.end - self.start > self._max_notices or (
            self._bytes > self._max_bytes and self.end - self.start > 1
        ):
            self._let_go()
        return self.end - 1

    def between(self, place: int, end: int) -> Iterator[Notice]:
        """The notices from one place up to another; both must be in the buffer."""
        for notice in self._notices[place - self._base : end - self._base]:
            assert notice is not None
            yield notice

    def place_after(self, number: int) -> int | None:
        """Where to begin so as to hear of every commit after `number`; None if something of those is gone already."""
        if number < self.floor:
            return None
        for index in range(self._gone, len(self._notices)):
            notice = self._notices[index]
            if notice is not None and notice.number > number:
                return self._base + index
        return self.end

    def _let_go(self) -> None:
        notice = self._notices[self._gone]
        assert notice is not None
        self._notices[self._gone] = None
        self._gone += 1
        self._bytes -= _size(notice)
        self.floor = max(self.floor, notice.number)
        if self._gone > self._max_notices // 4:
            del self._notices[: self._gone]
            self._base += self._gone
            self._gone = 0


def _size(notice: Notice) -> int:
    # The text of metrics is short, and made only when somebody wants it.
    return _SMALL if notice.data is None else _SMALL + len(notice.text)
