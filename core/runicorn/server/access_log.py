"""The server's log lines: one per request, and everything else that is logged.

On a terminal they are for people, otherwise each line is a JSON object. Requests are collected and written together, a
tenth of a second later at most: a slow terminal or pipe then costs little of the event loop's time.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from typing import TextIO

import msgspec

from runicorn.errors import shown

_FLUSH_S = 0.1
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


class AccessLog:
    """Writes one line per request to `stream`."""

    def __init__(self, stream: TextIO | None = None, *, enabled: bool = True) -> None:
        self._stream = stream or sys.stderr
        self._readable = self._stream.isatty()
        self._lines: list[str] = []
        self._timer: asyncio.TimerHandle | None = None
        self.enabled = enabled

    def record(self, method: str, path: str, status: int, seconds: float, client: str) -> None:
        """Note one answered request."""
        if not self.enabled:
            return
        entry = Access(time.time(), "info", method, path, status, round(seconds * 1000, 3), client)
        self._lines.append(_for_people(entry) if self._readable else _encode(entry).decode())
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_FLUSH_S, self.flush)

    def flush(self) -> None:
        """Write what was noted."""
        self._timer = None
        lines, self._lines = self._lines, []
        if lines:
            try:
                self._stream.write("\n".join(lines) + "\n")
                self._stream.flush()
            except (OSError, ValueError):
                self.enabled = False  # nobody reads the log any more


class JsonFormatter(logging.Formatter):
    """Log records as JSON objects on one line, tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        """One line for one record."""
        line: dict[str, object] = {
            "ts": record.created,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


def set_up_logging(level: str) -> None:
    """Send all log records of this process from `level` on to the standard error stream."""
    handler = logging.StreamHandler(sys.stderr)
    if sys.stderr.isatty():
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
    else:
        handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # These say at `info` what our own lines say already.
    for name in ("uvicorn", "watchfiles", "asyncio"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))


def _for_people(entry: Access) -> str:
    clock = time.strftime("%H:%M:%S", time.localtime(entry.ts))
    return f"{clock} {entry.status} {entry.method:6} {shown(entry.path)}  {entry.ms:.1f} ms  {entry.client}"
