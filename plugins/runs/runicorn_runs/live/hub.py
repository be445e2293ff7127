"""Reads what is new in the log once per worker, whatever the number of clients, and tells those who want to hear it.

Metrics of one run are told at once when it was quiet, and at most ten times a second while it logs. A notice's position is
such that everything up to it was told before or with it, so what is held back for a moment holds positions back, too:
after a reconnection something may be heard twice, and nothing is missed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from contextlib import aclosing
from itertools import chain

from runicorn.plugin import News, StorageUnavailable, Store
from runicorn_runs.live.filters import Wanted
from runicorn_runs.live.notices import HELLO, RESET, Notice, notices_of
from runicorn_runs.live.recent import Recent

logger = logging.getLogger("runicorn.runs.live")

_EVERY_S = 0.1  # between two notices of the metrics of one run
_COMMITS_AT_ONCE = 16
_CATCH_UP_BYTES = 8 << 20  # of the log, read for those who resume; more is read sooner by asking the API
_LINGER_S = 30.0  # without clients, before it stops reading
_OPEN_S = 5.0
_TAKE = 500
_NOT_YET = "none"  # in place of an epoch


class Listener:
    """One client's place among the notices."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.news = asyncio.Event()
        """Set when there is something to take, or the end."""
        self.ended = False
        self.place: int | None = None
        """Of the first notice that waits for this client; None while none does."""

    def tell(self, notice: Notice, place: int) -> None:
        """A notice was added."""
        if self.place is None and self.wanted.matches(notice):
            self.place = place
            self.news.set()

    def end(self) -> None:
        """Nothing comes any more."""
        self.ended = True
        self.news.set()


class LiveHub:
    """The notices of one store. Used on one event loop; runs only while somebody listens."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._recent = Recent(0)
        self._epoch = _NOT_YET
        self._told = 0  # number of the last commit that was read
        self._held: dict[str, Notice] = {}  # metrics to be told later, by run
        self._cooling: set[str] = set()  # runs whose metrics were told a moment ago
        self._ticking: asyncio.TimerHandle | None = None
        self._stopping: asyncio.TimerHandle | None = None
        self._listeners: set[Listener] = set()
        self._of_runs: dict[str, set[Listener]] = {}  # those that chose runs, by what they called them
        self._of_all: set[Listener] = set()
        self._open = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._leaving: asyncio.Task[None] | None = None

    # ── clients ─────────────────────────────────────────────────────────────

    async def open(self) -> None:
        """Begin to follow the log, if nobody has yet.

        While read models are being built there is nothing to follow; that is waited for, but not for long: who joins before
        gets a position that means nothing, and a reset later.
        """
        if self._stopping is not None:
            self._stopping.cancel()
            self._stopping = None
        if self._task is None:
            self._open.clear()
            self._task = asyncio.create_task(self._follow(), name="live-hub")
            self._leaving = self._leaving or asyncio.create_task(self._leave(), name="live-hub-end")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_OPEN_S):
                await self._open.wait()

    def join(self, listener: Listener, since: str | None) -> Notice:
        """Let a client listen from a position on, or from now; what it is to be told first. Call `open` before."""
        place = None if since is None else self._place_after(since)
        self._listeners.add(listener)
        for run in listener.wanted.runs:
            self._of_runs.setdefault(run, set()).add(listener)
        if not listener.wanted.runs:
            self._of_all.add(listener)
        if self._store.leaving.is_set():
            listener.end()
        if place is None:
            return self._about_connection(HELLO if since is None else RESET)
        assert since is not None
        self._seek(listener, place)
        return Notice(type=HELLO, position=since)

    def leave(self, listener: Listener) -> None:
        """Forget a client."""
        self._listeners.discard(listener)
        self._of_all.discard(listener)
        for run in listener.wanted.runs:
            others = self._of_runs.get(run, set())
            others.discard(listener)
            if not others:
                self._of_runs.pop(run, None)
        if not self._listeners and self._stopping is None:
            self._stopping = asyncio.get_running_loop().call_later(_LINGER_S, self._stop)

    def take(self, listener: Listener) -> list[Notice] | None:
        """What waits for a client, as much as is sent at once; None if it is so slow that something of it is gone.

        Of the metrics of one run, it is told once.
        """
        if listener.place is None:
            return []
        if listener.place < self._recent.start:
            return None
        place, end = listener.place, min(listener.place + _TAKE, self._recent.end)
        taken: dict[tuple[str, int], Notice] = {}
        for index, notice in enumerate(self._recent.between(place, end)):
            if listener.wanted.matches(notice):
                key = (notice.stream, -1) if notice.events else ("", index)
                earlier = taken.pop(key, None)
                taken[key] = notice if earlier is None else earlier.joined(notice)
        self._seek(listener, end)
        return list(taken.values())

    def position(self) -> str:
        """Where a client is that has taken everything."""
        return f"{self._epoch}.{self._mark()}"

    async def close(self) -> None:
        """End everything."""
        for task in (self._leaving, self._task):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        self._stop()

    def _seek(self, listener: Listener, place: int) -> None:
        listener.place = None
        listener.news.clear()
        for index, notice in enumerate(self._recent.between(place, self._recent.end), place):
            listener.tell(notice, index)
            if listener.place is not None:
                break
        if listener.ended:
            listener.news.set()

    def _place_after(self, since: str) -> int | None:
        epoch, _, number = since.rpartition(".")
        if epoch != self._epoch or not number.isascii() or not number.isdecimal() or int(number) > self._told:
            return None
        return self._recent.place_after(int(number))

    # ── the log ─────────────────────────────────────────────────────────────

    async def _follow(self) -> None:
        self._epoch, self._told = _NOT_YET, 0
        try:
            async with aclosing(self._store.news()) as journal:
                is_first = True
                async for news in journal:
                    latest = _affordable(news)
                    if is_first or latest[0].after_gap or len(latest) < len(news):
                        self._begin(latest[0], is_first=is_first)
                    is_first = False
                    for start in range(0, len(latest), _COMMITS_AT_ONCE):
                        await self._read(latest[start : start + _COMMITS_AT_ONCE])
                    self._open.set()
        except Exception:
            logger.exception("following the log for live clients failed")
            self._stop()

    def _begin(self, first: News, *, is_first: bool) -> None:
        """Begin with a commit: what was before is not here."""
        self._held.clear()
        self._epoch, self._told = first.epoch, max(0, first.number - 1)
        self._recent = Recent(self._told, base=self._recent.end)
        if not is_first or self._listeners:
            for listener in self._listeners:
                listener.place = None
            self._publish(self._about_connection(RESET), self._told)

    async def _read(self, news: Sequence[News]) -> None:
        log = self._store.log
        try:
            found = await self._store.model("runs").run(notices_of, log, news)
        except StorageUnavailable:  # names of projects are not known now
            found = await asyncio.to_thread(notices_of, None, log, news)
        before = self._mark()
        now: list[Notice] = []
        for notice in found:
            run = notice.run or ""
            if notice.events:
                held = self._held.get(run)
                if run in self._cooling:
                    self._held[run] = notice if held is None else held.joined(notice)
                    continue
                self._cooling.add(run)
            elif run in self._held:
                now.append(self._held.pop(run))  # in the order of its stream
            now.append(notice)
        self._told = news[-1].number
        self._publish_all(now, before)
        if self._cooling and self._ticking is None:
            self._ticking = asyncio.get_running_loop().call_later(_EVERY_S, self._tick)

    def _tick(self) -> None:
        """Tell what was held back; a run that has logged nothing meanwhile may be told at once again."""
        before = self._mark()
        held, self._held = self._held, {}
        self._cooling = set(held)
        self._publish_all(sorted(held.values(), key=lambda notice: notice.number), before)
        loop = asyncio.get_running_loop()
        self._ticking = loop.call_later(_EVERY_S, self._tick) if self._cooling else None

    def _mark(self) -> int:
        """Every commit up to this one has been told completely."""
        return min((notice.first - 1 for notice in self._held.values()), default=self._told)

    def _publish_all(self, notices: Sequence[Notice], before: int) -> None:
        for notice in notices[:-1]:
            self._publish(notice, before)
        for notice in notices[-1:]:
            self._publish(notice, self._mark())

    def _publish(self, notice: Notice, mark: int) -> None:
        notice.position = f"{self._epoch}.{mark}"
        place = self._recent.append(notice)
        concerned = [self._listeners]
        if not notice.is_for_all:
            concerned = [self._of_all, *(self._of_runs.get(run or "", ()) for run in (notice.run, notice.run_id))]
        for listener in chain.from_iterable(concerned):
            listener.tell(notice, place)

    def _about_connection(self, kind: str) -> Notice:
        return Notice(type=kind, first=self._told, number=self._told, position=self.position())

    # ── the end ─────────────────────────────────────────────────────────────

    async def _leave(self) -> None:
        await self._store.leaving.wait()
        for listener in self._listeners:
            listener.end()

    def _stop(self) -> None:
        """Stop reading; who listens still is told that it is over."""
        for listener in self._listeners:
            listener.end()
        for timer in (self._stopping, self._ticking):
            if timer is not None:
                timer.cancel()
        self._stopping = self._ticking = None
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._held.clear()
        self._cooling.clear()
        self._recent = Recent(0)


def _affordable(news: Sequence[News]) -> Sequence[News]:
    """As many of the last commits as are read for those who resume."""
    left = _CATCH_UP_BYTES
    for index in range(len(news) - 1, -1, -1):
        left -= sum(end - start for _, start, end in news[index].ranges)
        if left < 0:
            return news[min(index + 1, len(news) - 1) :]
    return news
