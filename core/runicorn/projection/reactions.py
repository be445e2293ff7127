"""Reactions: plugins that are told about events after the commit, at least once, with a durable cursor.

Each reacting plugin has a thread of its own, so that a slow webhook holds up nobody. A cursor per plugin and stream is in
the state directory; it moves after the plugin's hook returned. Events are read from the log again, not kept in memory.
"""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

import apsw
import msgspec

from runicorn.events.envelope import Event
from runicorn.events.log import FileLog, Stream, StreamReplaced
from runicorn.host import Plugin, PluginHost
from runicorn.projection.wire import Committed

logger = logging.getLogger("runicorn.projection")

_AT_ONCE = 500
_READ_BYTES = 64 << 10
_FIRST_RETRY_S = 1.0
_LAST_RETRY_S = 300.0


class CommittedEvent(msgspec.Struct, frozen=True):
    """An event with its identity, `(stream, offset)`."""

    stream: Stream
    offset: int
    event: Event


class Reactions:
    """The threads of all plugins that implement `runicorn_on_events`."""

    def __init__(self, state_dir: Path, log: FileLog, host: PluginHost) -> None:
        self._threads = [_Reaction(state_dir, log, host, plugin) for plugin in host if "on_events" in plugin.hooks]

    def start(self) -> None:
        """Start the threads. Call it before the first event is applied that they shall see."""
        for thread in self._threads:
            thread.start()

    def notify(self, notice: Committed) -> None:
        """Something was committed."""
        for thread in self._threads:
            thread.notify(notice)

    def stop(self) -> None:
        """End the threads after the call that they are in, waiting at most a second."""
        for thread in self._threads:
            thread.stop()
        for thread in self._threads:
            thread.join(timeout=1.0)


class _Reaction(threading.Thread):
    def __init__(self, state_dir: Path, log: FileLog, host: PluginHost, plugin: Plugin) -> None:
        super().__init__(name=f"reaction-{plugin.name}", daemon=True)
        self._path = state_dir / f"{plugin.name}-cursors.db"
        self._log = log
        self._host = host
        self._plugin = plugin
        self._mutex = threading.Lock()
        self._pending: dict[str, int] = {}
        self._wake = threading.Event()
        self._stop = threading.Event()
        # A plugin that is new here starts with what is appended from now on.
        self._is_new = not self._path.exists()
        self._existing = [(s.name, p.size) for s in log.streams() if (p := log.position(s))] if self._is_new else []

    def notify(self, notice: Committed) -> None:
        with self._mutex:
            for name, _, end in notice.streams:
                self._pending[name] = end
        self._wake.set()

    def stop(self) -> None:
        self._stop.set()
        self._wake.set()

    def run(self) -> None:
        db = apsw.Connection(os.fspath(self._path))
        db.execute("CREATE TABLE IF NOT EXISTS cursor(stream TEXT PRIMARY KEY, offset INTEGER NOT NULL)").fetchall()
        with db:
            db.executemany("INSERT INTO cursor(stream, offset) VALUES (?, ?)", self._existing)
        cursors = {str(name): int(offset) for name, offset in db.execute("SELECT stream, offset FROM cursor")}  # type: ignore[arg-type]
        if not self._is_new:
            with self._mutex:  # what was committed while this plugin was not listening
                for stream in self._log.streams():
                    self._pending.setdefault(stream.name, 0)
        retry = _FIRST_RETRY_S
        while not self._stop.is_set():
            with self._mutex:
                name = next(iter(self._pending), None)
                if name is not None:
                    del self._pending[name]
            if name is None:
                self._wake.clear()
                if not self._pending:
                    self._wake.wait()
                continue
            try:
                self._react(db, Stream.named(name), cursors)
                retry = _FIRST_RETRY_S
            except Exception as error:  # a stranger's code: whatever it raises is retried
                logger.warning("plugin %s: on_events failed, again in %.0f s: %s", self._plugin.name, retry, error)
                self._stop.wait(retry)
                retry = min(retry * 2, _LAST_RETRY_S)
                with self._mutex:
                    self._pending.setdefault(name, 0)
        db.close()

    def _react(self, db: apsw.Connection, stream: Stream, cursors: dict[str, int]) -> None:
        while not self._stop.is_set():
            after = cursors.get(stream.name, 0)
            try:
                lines = self._log.read(stream, after=after, limit=_READ_BYTES)
            except StreamReplaced:
                cursors[stream.name] = 0
                continue
            except FileNotFoundError:
                return
            if lines.end == after:
                return
            events = [
                CommittedEvent(stream, offset, event) for offset, event in zip(lines.offsets, lines.events, strict=True)
            ]
            for start in range(0, len(events), _AT_ONCE):
                self._host.call(self._plugin, "on_events", events=events[start : start + _AT_ONCE])
            cursors[stream.name] = lines.end
            with db:
                db.execute("INSERT OR REPLACE INTO cursor(stream, offset) VALUES (?, ?)", (stream.name, lines.end))
