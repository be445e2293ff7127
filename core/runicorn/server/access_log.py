"""The server's log lines about requests, one each; `runicorn.log_lines` writes the others.

On a terminal they are for people, otherwise each line is a JSON object. Requests are collected and written together, about
a tenth of a second later.
"""

from __future__ import annotations

import asyncio
import queue
import sys
import threading
import time
from typing import NamedTuple, TextIO

import msgspec

from runicorn.errors import shown

MAX_WAITING = 10_000
"""Lines that wait for somebody to read the stream."""

_FLUSH_S = 0.1
_LAST_WAIT_S = 1.0
_AGAIN_S = 30.0
_encode = msgspec.json.Encoder().encode


class Access(msgspec.Struct, frozen=True):
    """One answered request. `path` is the route's template, so lines can be grouped, or the path if none matched."""

    ts: float
    level: str
    method: str
    path: str
    status: int
    ms: float
    client: str


class Batch(NamedTuple):
    """Lines to be written together, after one that says how many before them are missing."""

    missing: list[str]
    lines: list[str]


class AccessLog:
    """Writes one line per request to `stream`, from a thread of its own: a paused terminal or a full pipe holds up nobody.

    Lines that find `MAX_WAITING` others waiting are dropped, and counted in the next line that is written.
    """

    def __init__(self, stream: TextIO | None = None, *, enabled: bool = True) -> None:
        self._stream = stream or sys.stderr
        self._readable = self._stream.isatty()
        self._lines: list[str] = []
        self._timer: asyncio.TimerHandle | None = None
        self._writer: threading.Thread | None = None
        self._batches: queue.SimpleQueue[Batch] = queue.SimpleQueue()
        self._waiting = 0
        self._dropped = 0
        self._mutex = threading.Lock()
        self._is_level = threading.Event()
        self.enabled = enabled

    def record(self, method: str, path: str, status: int, seconds: float, client: str) -> None:
        """Note one answered request."""
        if not self.enabled:
            return
        entry = Access(time.time(), "info", method, path, status, round(seconds * 1000, 3), client)
        self._lines.append(_for_people(entry) if self._readable else _encode(entry).decode())
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_FLUSH_S, self._hand_over)

    def flush(self) -> None:
        """Write what was noted, waiting for the reader of the stream for a second at most."""
        self._hand_over()
        if self._writer is not None:
            self._is_level.wait(_LAST_WAIT_S)

    def _hand_over(self) -> None:
        self._timer = None
        lines, self._lines = self._lines, []
        with self._mutex:
            kept = lines[: max(0, MAX_WAITING - self._waiting)]
            self._waiting += len(kept)
            if kept:
                self._is_level.clear()
        if kept:
            self._batches.put(Batch(self._missing(), kept))
            if self._writer is None:
                # A daemon: a terminal that stays paused must not keep the server from ending.
                self._writer = threading.Thread(target=self._write_all, name="access log", daemon=True)
                self._writer.start()
        self._dropped += len(lines) - len(kept)

    def _missing(self) -> list[str]:
        dropped, self._dropped = self._dropped, 0
        if not dropped:
            return []
        message = f"{dropped} requests are missing here: nobody read the log"
        line = {"ts": time.time(), "level": "warning", "message": message}
        return [message if self._readable else _encode(line).decode()]

    def _write_all(self) -> None:
        failed_at: float | None = None
        while True:
            batch = self._batches.get()
            if failed_at is None or time.monotonic() - failed_at >= _AGAIN_S:
                try:
                    self._stream.write("\n".join((*batch.missing, *batch.lines)) + "\n")
                    self._stream.flush()
                    failed_at = None
                except (OSError, ValueError):  # nobody reads the log any more, or the disk is full
                    failed_at = time.monotonic()
            with self._mutex:
                self._waiting -= len(batch.lines)
                if not self._waiting:
                    self._is_level.set()


def _for_people(entry: Access) -> str:
    clock = time.strftime("%H:%M:%S", time.localtime(entry.ts))
    return f"{clock} {entry.status} {entry.method:6} {shown(entry.path)}  {entry.ms:.1f} ms  {entry.client}"
