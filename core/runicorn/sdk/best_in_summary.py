"""The best value of the primary metric, kept in the run's summary while it trains."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from runicorn.sdk.best_metric import BestMetric, Mode
from runicorn.sdk.later import call_later

_EVERY_S = 1.0


class BestInSummary:
    """`write` sets keys of the summary. While values improve it is called once a second, and at the end by `save`.

    `lock` is that of the log: `offer` is called under it. Safe for threads and for signal handlers that log.
    """

    def __init__(self, lock: threading.RLock, write: Callable[[dict[str, Any]], None]) -> None:
        self._lock = lock
        self._write = write
        self._saving = threading.RLock()
        self._best: BestMetric | None = None
        self._is_unsaved = False
        self._is_planned = False
        self._saved_at = -_EVERY_S

    def follow(self, name: str, mode: Mode) -> None:
        """Follow this metric from its next value on. InvalidMode."""
        best = BestMetric(name, mode)
        self.save()
        with self._lock:
            self._best = best

    def offer(self, values: Mapping[str, object], step: int) -> None:
        """Look at values that are logged."""
        best = self._best
        if best is not None and best.name in values and best.offer(values[best.name], step):
            self._is_unsaved = True
            if not self._is_planned:
                self._is_planned = True
                call_later(max(0.0, self._saved_at + _EVERY_S - time.monotonic()), self.save)

    def save(self) -> None:
        """Write what is better than what was written."""
        with self._saving:  # until it is written: the end of the run waits for what another thread has begun
            with self._lock:
                self._is_planned = False
                if self._best is None or not self._is_unsaved:
                    return
                self._is_unsaved = False
                self._saved_at = time.monotonic()
                update = self._best.summary()
            self._write(update)

    def after_fork(self, lock: threading.RLock) -> None:
        """In the child: what waits belongs to the parent, which will write it."""
        self._lock = lock
        self._saving = threading.RLock()
        self._is_unsaved = self._is_planned = False
