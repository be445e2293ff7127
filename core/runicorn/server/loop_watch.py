"""Notices what holds the event loop up, and whose code it is.

All requests of a worker share one event loop: a handler that computes or waits without `await` keeps all others waiting. A
thread looks whether the loop still turns. If the code of a plugin is what runs meanwhile, it is remembered for
`/api/health`, and after the patience of the server `TookTooLong` is raised in it. What cannot be interrupted is a single
call into a library in C; if that holds the interpreter's lock, not even this thread runs, and only a warning is logged later.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import threading
import time
from collections.abc import Mapping
from types import FrameType

import msgspec

from runicorn.host import PluginHost
from runicorn.patience import BUILT_IN, TookTooLong

logger = logging.getLogger("runicorn.server")

_LOOK_S = 0.5
_HELD_S = 1.0  # from then on it is worth telling
_SAMPLE_S = 0.1
_REMEMBERED_S = 600.0


class Hold(msgspec.Struct):
    """The longest time for which a plugin has held the loop up lately."""

    seconds: float
    where: str
    at: float
    """On the monotonic clock."""


class LoopWatch(threading.Thread):
    """Watches the event loop of the main thread. Start it on that loop, before requests are answered."""

    def __init__(self, host: PluginHost) -> None:
        super().__init__(name="loop-watch", daemon=True)
        self._limit_s = host.patience.limit_s
        self._packages = _packages(host)
        self._turned = threading.Event()
        self._ending = threading.Event()
        self._main = threading.main_thread().ident or 0
        self._holds: dict[str, Hold] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def watch(self) -> None:
        """Start, on the loop that is to be watched."""
        self._loop = asyncio.get_running_loop()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGALRM, self._interrupt)
            self.start()

    def end(self) -> None:
        """Stop watching."""
        self._ending.set()

    def problems(self) -> dict[str, str]:
        """Plugins that have held the loop up in the last ten minutes, with what they did."""
        now = time.monotonic()
        return {
            plugin: f"held up all requests for {hold.seconds:.1f} s in {hold.where}"
            for plugin, hold in list(self._holds.items())
            if now - hold.at < _REMEMBERED_S
        }

    def run(self) -> None:
        while self._loop is not None and not self._ending.wait(_LOOK_S):
            self._turned.clear()
            since = time.monotonic()
            try:
                self._loop.call_soon_threadsafe(self._turned.set)
            except RuntimeError:  # it is closed
                return
            if not self._turned.wait(_LOOK_S):
                self._follow(since)
            elif time.monotonic() - since > _HELD_S:
                logger.warning("all requests were held up for %.1f s", time.monotonic() - since)

    def _follow(self, since: float) -> None:
        """Watch who holds the loop up, until it turns again."""
        seen: tuple[str, str] | None = None
        interruptions = 0
        while not self._turned.wait(_SAMPLE_S) and not self._ending.is_set():
            seen = _stranger(sys._current_frames().get(self._main), self._packages) or seen  # pyright: ignore[reportPrivateUsage]  # of this module
            if seen is not None and time.monotonic() - since > self._limit_s * (interruptions + 1):
                interruptions += 1
                signal.pthread_kill(self._main, signal.SIGALRM)
        seconds = time.monotonic() - since
        if seen is not None and seconds > _HELD_S:
            plugin, where = seen
            before = self._holds.get(plugin)
            longest = max(seconds, before.seconds if before and plugin in self.problems() else 0.0)
            self._holds[plugin] = Hold(longest, where, time.monotonic())
            logger.error("plugin %s has held up all requests for %.1f s in %s", plugin, seconds, where)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        """The handler of the signal, on the main thread: only the code of a plugin is interrupted."""
        found = _stranger(frame, self._packages)
        if found is not None:
            raise TookTooLong(f"{found[1]} has held up all requests for {self._limit_s:g} s")


def _packages(host: PluginHost) -> dict[str, str]:
    """Names of the packages that plugins of strangers are in, with the names of the plugins."""
    found: dict[str, str] = {}
    for plugin in host.plugins:
        if plugin.module is not None and plugin.name not in BUILT_IN:
            module = getattr(plugin.module, "__name__", None) or type(plugin.module).__module__
            found[str(module).partition(".")[0]] = plugin.name
    return found


def _stranger(frame: FrameType | None, packages: Mapping[str, str]) -> tuple[str, str] | None:
    """The plugin whose code a stack of calls is in, and where in it."""
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        plugin = packages.get(module.partition(".")[0])
        if plugin is not None:
            return plugin, f"{module}.{frame.f_code.co_name}, line {frame.f_lineno}"
        frame = frame.f_back
    return None
