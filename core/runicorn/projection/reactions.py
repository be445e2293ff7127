"""Reactions: plugins that are told about events after the commit, at least once, with a durable cursor.

Each reacting plugin has a thread of its own, so that a slow webhook holds up nobody. A cursor per plugin and stream is in
the state directory; it moves after the plugin's hook returned. Events are read from the log again, not kept in memory.
A plugin that raises, or does not return, harms nobody else; what is wrong with it is among the `problems`.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import cast

import apsw
import msgspec

from runicorn.events.log import FileLog, LocatedEvent, Stream, StreamReplaced
from runicorn.host import Plugin, PluginHost, describe
from runicorn.projection.wire import Committed

logger = logging.getLogger("runicorn.projection")

_AT_ONCE = 500
_READ_BYTES = 64 << 10
_FIRST_RETRY_S = 1.0
_LAST_RETRY_S = 300.0
_HANGS_AFTER_S = 30.0


def own_directory(state_dir: Path, plugin: str) -> Path:
    """Where a plugin keeps what it has to remember between reactions; it need not exist."""
    return state_dir / DIRECTORIES / plugin


def cursors_file(state_dir: Path, plugin: str) -> Path:
    """Where the cursors of a plugin are."""
    return state_dir / f"{plugin}{CURSORS}"


CURSORS = "-cursors.db"
"""How the names of files with cursors end."""

DIRECTORIES = "plugins"
"""The directory with those of the plugins."""


class Cursor(msgspec.Struct, frozen=True):
    """Up to where a plugin has been told of a stream, and how the stream began then."""

    offset: int = 0
    head: bytes = b""


class Reactions:
    """The threads of all plugins that implement `runicorn_on_events`.

    `committed_end` tells up to which offset a stream is in the read models: no event is delivered before it is.
    """

    def __init__(
        self,
        state_dir: Path,
        log: FileLog,
        host: PluginHost,
        committed_end: Callable[[Stream], int],
        *,
        first_retry_s: float = _FIRST_RETRY_S,
        hangs_after_s: float = _HANGS_AFTER_S,
    ) -> None:
        self._hangs_after_s = hangs_after_s
        self._log = log
        self._committed_end = committed_end
        self._threads = [
            _Reaction(state_dir, log, host, plugin, committed_end, first_retry_s)
            for plugin in host
            if "on_events" in plugin.hooks
        ]

    def problems(self) -> dict[str, str]:
        """Plugins whose last call failed, or has not returned for long, with the reason."""
        found = ((thread.plugin.name, thread.problem(self._hangs_after_s)) for thread in self._threads)
        return {name: problem for name, problem in found if problem is not None}

    def start(self) -> None:
        """Start the threads. Construct this before the first event is applied that they shall see."""
        for thread in self._threads:
            thread.start()

    def notify(self, notice: Committed) -> None:
        """Something was committed."""
        for thread in self._threads:
            thread.notify((name, end) for name, _, end in notice.streams)

    def look_again(self) -> None:
        """A read model has stopped: what it lacked was committed in all others before, and no commit will tell of it."""
        for thread in self._threads:
            thread.notify((stream.name, self._committed_end(stream)) for stream in self._log.streams())

    def stop(self) -> None:
        """End the threads after the call that they are in, waiting at most a second."""
        for thread in self._threads:
            thread.end()
        for thread in self._threads:
            thread.join(timeout=1.0)


class _Reaction(threading.Thread):
    def __init__(
        self,
        state_dir: Path,
        log: FileLog,
        host: PluginHost,
        plugin: Plugin,
        committed_end: Callable[[Stream], int],
        first_retry_s: float,
    ) -> None:
        super().__init__(name=f"reaction-{plugin.name}", daemon=True)
        self._log = log
        self._host = host
        self.plugin = plugin
        self._directory = own_directory(state_dir, plugin.name)
        self._failure: str | None = None
        self._failures = 0
        self._called_at: float | None = None
        self._first_retry_s = first_retry_s
        self._mutex = threading.Lock()
        self._pending: dict[str, None] = {}
        self._committed: dict[str, int] = {}
        self._wake = threading.Event()
        self._ending = threading.Event()
        self._db = apsw.Connection(os.fspath(cursors_file(state_dir, plugin.name)))
        self._db.execute("PRAGMA journal_mode=wal").fetchall()
        with self._db:
            if self._db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'cursor'").fetchall():
                # what was committed while this plugin was not listening
                self.notify((stream.name, committed_end(stream)) for stream in log.streams())
            else:
                self._begin_now()
        rows = self._db.execute("SELECT stream, offset, head FROM cursor").fetchall()
        self._cursors = {name: Cursor(offset, head) for name, offset, head in cast(list[tuple[str, int, bytes]], rows)}

    def _begin_now(self) -> None:
        """A plugin that is new here starts with what is appended from now on."""
        self._db.execute(
            "CREATE TABLE cursor(stream TEXT PRIMARY KEY, offset INTEGER NOT NULL, head BLOB NOT NULL) WITHOUT ROWID"
        ).fetchall()
        ends = ((stream.name, self._log.complete_end(stream)) for stream in self._log.streams())
        self._db.executemany("INSERT INTO cursor(stream, offset, head) VALUES (?, ?, x'')", ends)

    def notify(self, ends: Iterable[tuple[str, int]]) -> None:
        with self._mutex:
            for name, end in ends:
                self._committed[name] = end
                self._pending[name] = None
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
        retry = self._first_retry_s
        while not self._ending.is_set():
            with self._mutex:
                name = next(iter(self._pending), None)
                if name is None:
                    self._wake.clear()
                else:
                    del self._pending[name]
            if name is None:
                self._wake.wait()
                continue
            try:
                self._react(Stream.named(name))
                retry = self._first_retry_s
            except BaseException as error:  # a stranger's code: whatever it raises is retried
                self._failures += 1
                self._failure = describe(error)
                logger.warning("plugin %s: on_events failed, again in %.0f s: %s", self.plugin.name, retry, error)
                self._ending.wait(retry)
                retry = min(retry * 2, _LAST_RETRY_S)
                self.notify([(name, self._committed[name])])
        self._db.close()

    def _react(self, stream: Stream) -> None:
        while not self._ending.is_set():
            cursor = self._cursors.get(stream.name, Cursor())
            committed = self._committed[stream.name]
            if committed == cursor.offset:
                return
            try:
                lines = self._log.read(stream, after=cursor.offset, head=cursor.head, limit=_READ_BYTES)
            except StreamReplaced:
                self._cursors[stream.name] = Cursor()
                continue
            except FileNotFoundError:
                self._move(stream, None)
                return
            end = min(lines.end, committed)  # commits end between lines
            if end <= cursor.offset:
                return
            events = [
                LocatedEvent(stream, offset, event)
                for offset, event in zip(lines.offsets, lines.events, strict=True)
                if offset < end
            ]
            for start in range(0, len(events), _AT_ONCE):
                self._call(events[start : start + _AT_ONCE])
            self._move(stream, Cursor(end, cursor.head or (lines.head if lines.start == 0 else b"")))

    def _call(self, events: Sequence[LocatedEvent]) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        self._called_at = time.monotonic()
        try:
            self._host.call(self.plugin, "on_events", events=events, directory=self._directory)
        finally:
            self._called_at = None
        self._failure, self._failures = None, 0

    def _move(self, stream: Stream, cursor: Cursor | None) -> None:
        with self._db:
            if cursor is None:
                self._cursors.pop(stream.name, None)
                self._db.execute("DELETE FROM cursor WHERE stream = ?", (stream.name,))
            else:
                self._cursors[stream.name] = cursor
                self._db.execute(
                    "INSERT OR REPLACE INTO cursor(stream, offset, head) VALUES (?, ?, ?)",
                    (stream.name, cursor.offset, cursor.head),
                )
