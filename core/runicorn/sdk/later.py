"""One daemon thread per process for what must happen soon, but not while training waits.

The thread is started by the first call, never keeps the interpreter alive, and does not exist in a forked child until
something is due there. What must not be lost is done again, directly, by the exit hooks.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable

logger = logging.getLogger("runicorn")

_condition = threading.Condition()
_due: list[tuple[float, int, Callable[[], object]]] = []
_numbers = itertools.count()  # keeps the heap from comparing functions
_thread: threading.Thread | None = None


def call_later(delay_s: float, function: Callable[[], object]) -> None:
    """Call `function` in the background in `delay_s` seconds; what it raises is logged. Never raises.

    Without a thread to be had (process limit) it waits for the next call of this function, which tries again; at the end of
    the interpreter the exit hooks do what is left.
    """
    global _thread
    with _condition:
        heapq.heappush(_due, (time.monotonic() + delay_s, next(_numbers), function))
        _condition.notify()
        if _thread is None:
            thread = threading.Thread(target=_work, name="runicorn", daemon=True)
            with contextlib.suppress(RuntimeError):
                thread.start()
                _thread = thread


def _work() -> None:
    while True:
        function = _next()
        try:
            function()
        except Exception:
            logger.warning("recording in the background failed", exc_info=True)
        del function  # it may be the last reference to a run


def _next() -> Callable[[], object]:
    with _condition:
        while True:
            if not _due:
                _condition.wait()
                continue
            delay = _due[0][0] - time.monotonic()
            if delay <= 0:
                return heapq.heappop(_due)[2]
            _condition.wait(delay)


def _forget_after_fork() -> None:
    global _condition, _thread
    _condition = threading.Condition()
    _thread = None
    _due.clear()


os.register_at_fork(after_in_child=_forget_after_fork)
