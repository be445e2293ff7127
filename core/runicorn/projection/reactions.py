"""Reactions: plugins that are told about events after the commit, at least once, with a durable cursor.

Each reacting plugin has a thread of its own, so that a slow webhook holds up nobody. A cursor per plugin and stream is in
the state directory; it moves after the plugin's hook returned. Which streams there is something to tell of, the thread looks
up in the read models (`moves`), and reads the events from the log again: nothing of it is kept in memory, and a start costs
what is new. A plugin that raises, or does not return, harms nobody else; what is wrong with it is among the `problems`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import apsw

from runicorn.events.log import FileLog, LocatedEvent, Stream, StreamKind, StreamReplaced
from runicorn.host import Plugin, PluginHost, describe
from runicorn.projection.cursors import Cursor, Cursors, Followed, cursors_file
from runicorn.projection.moves import Moves, Standing

logger = logging.getLogger("runicorn.projection")

_AT_ONCE = 500
_STREAMS_AT_ONCE = 500
_READ_BYTES = 64 << 10
_FIRST_RETRY_S = 1.0
_LAST_RETRY_S = 300.0
_HANGS_AFTER_S = 30.0

DIRECTORIES = "plugins"
"""The directory with those of the plugins."""


def own_directory(state_dir: Path, plugin: str) -> Path:
    """Where a plugin keeps what it has to remember between reactions; it need not exist."""
    return state_dir / DIRECTORIES / plugin


class Reactions:
    """The threads of all plugins that implement `runicorn_on_events`; false if there are none.

    No event is delivered before it is in all read models that read its stream, nor while one of them is built.
    """

    def __init__(
        self,
        state_dir: Path,
        log: FileLog,
        host: PluginHost,
        *,
        first_retry_s: float = _FIRST_RETRY_S,
        hangs_after_s: float = _HANGS_AFTER_S,
    ) -> None:
        self._hangs_after_s = hangs_after_s
        self._threads = [
            _Reaction(state_dir, log, host, plugin, first_retry_s) for plugin in host if "on_events" in plugin.hooks
        ]

    def __bool__(self) -> bool:
        return bool(self._threads)

    def problems(self) -> dict[str, str]:
        """Plugins whose last call failed, or has not returned for long, with the reason."""
        found = ((thread.plugin.name, thread.problem(self._hangs_after_s)) for thread in self._threads)
        return {name: problem for name, problem in found if problem is not None}

    def start(self, models: Sequence[Standing], unapplied: Iterable[Stream]) -> None:
        """Start the threads, before the first event is applied.

        `unapplied` are the streams that the read models are not level with: a plugin that is new here starts with what is
        appended from now on, not with what is applied from now on.
        """
        for thread in self._threads:
            thread.begin(models, unapplied)
            thread.start()

    def notify(self, models: Sequence[Standing]) -> None:
        """Something was committed, or other read models serve: where these stand now."""
        for thread in self._threads:
            thread.notify(models)

    def stop(self) -> None:
        """End the threads after the call that they are in, waiting at most a second."""
        for thread in self._threads:
            thread.end()
        for thread in self._threads:
            thread.join(timeout=1.0)


class _Reaction(threading.Thread):
    def __init__(self, state_dir: Path, log: FileLog, host: PluginHost, plugin: Plugin, first_retry_s: float) -> None:
        super().__init__(name=f"reaction-{plugin.name}", daemon=True)
        self._log = log
        self._host = host
        self.plugin = plugin
        self._directory = own_directory(state_dir, plugin.name)
        self._failure: str | None = None
        self._failures = 0
        self._called_at: float | None = None
        self._retry_s = self._first_retry_s = first_retry_s
        self._wake = threading.Event()
        self._ending = threading.Event()
        self._standing: Sequence[Standing] = ()
        self._models: list[Moves] = []
        self._cursors = Cursors(cursors_file(state_dir, plugin.name))
        self._followed: dict[str, Followed] = {}

    def begin(self, models: Sequence[Standing], unapplied: Iterable[Stream]) -> None:
        """Take what is in the log as known if the plugin is new here."""
        self._standing = models
        self._open(models)
        now = {
            moves.plugin: Followed(moves.build, model.last_move)
            for moves, model in zip(self._models, models, strict=True)
        }
        if self._cursors.is_new:
            ends = ((stream.name, self._log.complete_end(stream), b"") for stream in unapplied)
            self._cursors.begin(chain(_applied(self._models), ends), now)
        self._followed = self._cursors.followed()
        for name, one in now.items():
            known = self._followed.get(name)
            # Numbers that were lost, in a crash of the machine or with a stream that is gone, are given again.
            if known is not None and known.build == one.build and known.move > one.move:
                self._followed[name] = one

    def notify(self, models: Sequence[Standing]) -> None:
        self._standing = models
        self._wake.set()

    def problem(self, hangs_after_s: float) -> str | None:
        called_at, failure = self._called_at, self._failure
        if called_at is not None and (silent := time.monotonic() - called_at) > hangs_after_s:
            return f"on_events has not returned for {silent:.0f} s"
        return failure and f"on_events has failed {self._failures} times in a row and is tried again: {failure}"

    def end(self) -> None:
        self._ending.set()
        self._wake.set()

    def run(self) -> None:
        while not self._ending.is_set():
            self._wake.clear()
            try:
                is_more = self._round()
            except (apsw.Error, OSError) as error:  # a file that is replaced in this moment, or a full disk
                self._fail(error)
                is_more = True
            if not is_more:
                self._wake.wait()
        self._close_models()
        self._cursors.close()

    def _round(self) -> bool:
        """Look at what moved since the last round, and at what waits for another attempt; whether there was any."""
        standing = self._standing
        if not standing or not all(model.is_ready for model in standing):
            return False
        if [model.path for model in standing] != [moves.path for moves in self._models]:
            self._open(standing)
            self._cursors.hold_no_more()
        is_more = False
        for moves, model in zip(self._models, standing, strict=True):
            is_more = self._follow(moves, model.last_move) or is_more
        for name in self._cursors.waiting(_STREAMS_AT_ONCE):
            is_more = True
            self._look(Stream.named(name))
        return is_more

    def _follow(self, moves: Moves, last: int) -> bool:
        """Look at the next streams that moved in a read model, up to the move `last`; whether there were any."""
        known = self._followed.get(moves.plugin)
        after = known.move if known is not None and known.build == moves.build else 0
        found = moves.between(after, last, _STREAMS_AT_ONCE)
        offsets = self._cursors.offsets([move.stream for move in found]) if found else {}
        for move in found:
            if self._ending.is_set():
                return False
            if offsets.get(move.stream) != move.offset:
                self._look(Stream.named(move.stream))
        if found:
            self._followed[moves.plugin] = one = Followed(moves.build, found[-1].number)
            self._cursors.follow({moves.plugin: one})
        return bool(found)

    def _look(self, stream: Stream) -> None:
        """Tell the plugin what it does not know of a stream. If it fails, the stream waits for another attempt."""
        if self._ending.is_set():
            return
        try:
            is_all = self._react(stream)
        except BaseException as error:  # a stranger's code: whatever it raises is retried
            self._cursors.wait(stream.name, is_held=False)
            self._fail(error)
        else:
            if is_all:
                self._cursors.wait_no_more(stream.name)

    def _fail(self, error: BaseException) -> None:
        self._failures += 1
        self._failure = describe(error)
        logger.warning("plugin %s: on_events failed, again in %.0f s: %s", self.plugin.name, self._retry_s, error)
        self._ending.wait(self._retry_s)
        self._retry_s = min(self._retry_s * 2, _LAST_RETRY_S)

    def _react(self, stream: Stream) -> bool:
        """Whether the plugin has been told of all that the stream holds in the read models."""
        committed, furthest = self._ends(stream)
        if committed < furthest:  # the one that lacks it moves later, or stops
            self._cursors.wait(stream.name, is_held=True)
        while not self._ending.is_set():
            cursor = self._cursors.get(stream.name)
            if committed == cursor.offset:
                return committed == furthest
            try:
                lines = self._log.read(stream, after=cursor.offset, head=cursor.head, limit=_READ_BYTES)
            except StreamReplaced:
                self._cursors.move(stream.name, Cursor())
                continue
            except FileNotFoundError:
                self._cursors.move(stream.name, None)
                return True
            end = min(lines.end, committed)  # commits end between lines
            if end <= cursor.offset:
                return committed == furthest
            events = [
                LocatedEvent(stream, offset, event)
                for offset, event in zip(lines.offsets, lines.events, strict=True)
                if offset < end
            ]
            for start in range(0, len(events), _AT_ONCE):
                self._call(events[start : start + _AT_ONCE])
            head = cursor.head or (lines.head if lines.start == 0 else b"")
            self._cursors.move(stream.name, Cursor(end, head))
        return False

    def _ends(self, stream: Stream) -> tuple[int, int]:
        """Up to where all read models that read a stream have it, and up to where some model has it."""
        reading = [moves for moves in self._models if stream.kind in moves.kinds] or self._models
        offsets = [moves.offset(stream.name) for moves in reading]
        return min(offsets), max(offsets)

    def _call(self, events: Sequence[LocatedEvent]) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        self._called_at = time.monotonic()
        try:
            self._host.call(self.plugin, "on_events", events=events, directory=self._directory)
        finally:
            self._called_at = None
        self._failure, self._failures = None, 0
        self._retry_s = self._first_retry_s

    def _open(self, standing: Sequence[Standing]) -> None:
        self._close_models()
        self._models = [Moves(model) for model in standing]

    def _close_models(self) -> None:
        for moves in self._models:
            moves.close()
        self._models = []


def _applied(models: Sequence[Moves]) -> Iterator[tuple[str, int, bytes]]:
    """What is applied of every stream: they are all level, but for those that are not."""
    covered: set[StreamKind] = set()
    for moves in models:
        if not moves.kinds <= covered:
            covered |= moves.kinds
            try:
                yield from moves.everything()
            except apsw.SQLError as error:  # a stranger's projection took the table: its read model is about to stop
                logger.warning("what the read model of %s has applied is not known: %s", moves.plugin, error)
