"""How long the code of a plugin may keep everybody else waiting.

Where a plugin is called on the main thread of a process (its import, its hooks, its projections and sources), a timer of the
operating system runs. When it ends, `TookTooLong` is raised inside of the plugin's code: that stops loops, sleeps and waits
for the network, but no single call into a library in C that does not return by itself. The projector therefore has
`Deadly` patience: the operating system ends the process, and whoever started it starts it again without that plugin.

The plugins that come with Runicorn are waited for: a stalled disk is no fault of theirs, and nothing works without them.
"""

from __future__ import annotations

import contextlib
import mmap
import signal
import threading
import time
from collections.abc import Generator
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType
from typing import NoReturn

import msgspec

from runicorn.config import positive_number

BUILT_IN = frozenset({"runs", "artifacts", "remote", "query", "system"})
"""The plugins that come with Runicorn."""

_DEFAULT_S = 30.0
_FILE = "projector.call"
_SIZE = 512
_SLOW_S = 2.0
_WINDOW_S = 30.0


_FOR_EVER = contextlib.nullcontext()


class TookTooLong(BaseException):
    """Raised inside of a plugin's code that does not return. Not an `Exception`: its own `except` clauses do not stop it."""


class Call(msgspec.Struct, frozen=True):
    """A call of a plugin's code: of which plugin, and what was called."""

    plugin: str
    what: str


def patience_s() -> float:
    """Seconds after which a plugin that does not return is given up: `RUNICORN_PLUGIN_PATIENCE`, 30 by default."""
    return positive_number("RUNICORN_PLUGIN_PATIENCE", _DEFAULT_S)


class Patience:
    """Interrupts calls that take too long, on the main thread; on others it waits."""

    def __init__(self, limit_s: float | None = None) -> None:
        self.limit_s = patience_s() if limit_s is None else limit_s

    def slow(self) -> dict[str, str]:
        """Plugins that have taken long lately, with how long that was; where nobody else waits, that is not counted."""
        return {}

    def reason(self, what: str) -> str:
        """Why a plugin was given up."""
        return f"{what} has not returned for {self.limit_s:g} s"

    def call(self, plugin: str, what: str) -> AbstractContextManager[None]:
        """Around a call of a plugin's code. TookTooLong after the limit."""
        if plugin in BUILT_IN or threading.current_thread() is not threading.main_thread():
            return _FOR_EVER
        return self._limited(plugin, what)

    @contextlib.contextmanager
    def _limited(self, plugin: str, what: str) -> Generator[None]:
        def give_up(number: int, frame: FrameType | None) -> NoReturn:
            raise TookTooLong(self.reason(what))

        before = signal.signal(signal.SIGALRM, give_up)
        started = time.monotonic()
        # Again and again: a plugin that catches even this one is not let off.
        left_s, interval_s = signal.setitimer(signal.ITIMER_REAL, self.limit_s, self.limit_s)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            if left_s:  # somebody else's timer, such as that of a test
                signal.setitimer(signal.ITIMER_REAL, max(left_s - (time.monotonic() - started), 0.001), interval_s)


class Deadly(Patience):
    """Ends the process where a call takes too long, whatever it is doing; `last_call` then says which one it was."""

    def __init__(self, state_dir: Path, limit_s: float | None = None) -> None:
        super().__init__(limit_s)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        with (state_dir / _FILE).open("w+b") as file:
            file.write(bytes(_SIZE))  # a page without a block on a full disk would end the process, too
            file.flush()
            self._page = mmap.mmap(file.fileno(), _SIZE)
        self._window: tuple[float, dict[str, float], dict[str, float]] = (time.monotonic(), {}, {})

    def slow(self) -> dict[str, str]:
        """Plugins whose code has kept the process busy for seconds lately, with how long that was."""
        _, before, now = self._spent()
        total = {plugin: before.get(plugin, 0.0) + now.get(plugin, 0.0) for plugin in {*before, *now}}
        return {
            plugin: f"its read model takes long: {seconds:.1f} s of the projector's time in the last {_WINDOW_S:.0f} s"
            for plugin, seconds in total.items()
            if seconds >= _SLOW_S
        }

    def call(self, plugin: str, what: str) -> AbstractContextManager[None]:
        """Around a call of a plugin's code."""
        return _FOR_EVER if plugin in BUILT_IN else self._limited(plugin, what)

    @contextlib.contextmanager
    def _limited(self, plugin: str, what: str) -> Generator[None]:
        text = msgspec.json.encode(Call(plugin[:100], what[:100]))[: _SIZE - 1]
        self._page[: len(text) + 1] = text + b"\0"
        started = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, self.limit_s)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._page[0] = 0
            spent = self._spent()[2]
            spent[plugin] = spent.get(plugin, 0.0) + time.monotonic() - started

    def _spent(self) -> tuple[float, dict[str, float], dict[str, float]]:
        """When the present half of the window began, and the seconds by plugin: in the half before it, and in it."""
        since, _, now = self._window
        passed = time.monotonic() - since
        if passed > _WINDOW_S / 2:
            self._window = (time.monotonic(), now if passed < _WINDOW_S else {}, {})
        return self._window


def last_call(state_dir: Path) -> Call | None:
    """The call of a plugin's code during which the projector of a state directory ended; None if it was in none."""
    try:
        text = (state_dir / _FILE).read_bytes().partition(b"\0")[0]
        return msgspec.json.decode(text, type=Call) if text else None
    except (OSError, msgspec.DecodeError):
        return None
