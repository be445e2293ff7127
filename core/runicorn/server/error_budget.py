"""How often the routes of a plugin may fail before they are switched off for a while.

A route that fails ten times within a minute is off for 30 s, then twice as long each time it goes on like that, up to a
quarter of an hour. One that had to be interrupted, as it held up everybody, is off until the server is started again. The
plugins that come with Runicorn have no budget: nothing works without their routes. Each worker counts by itself.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable

import msgspec

from runicorn.errors import Unavailable
from runicorn.patience import BUILT_IN
from runicorn.server.routing import Route

logger = logging.getLogger("runicorn.server")

FAILURES = 10
WINDOW_S = 60.0
FIRST_PAUSE_S = 30.0
LAST_PAUSE_S = 900.0


class RouteOff(Unavailable):
    """The route of a plugin is switched off."""

    def __init__(self, plugin: str, wait_s: float) -> None:
        super().__init__(f"This route of the plugin {plugin} is switched off, because it keeps failing")
        self.retry_after = None if math.isinf(wait_s) else max(1, math.ceil(wait_s))


class _Record(msgspec.Struct):
    plugin: str
    failures: deque[float]
    reason: str = ""
    off_until: float = 0.0
    pause_s: float = FIRST_PAUSE_S


class ErrorBudget:
    """The failures of the routes of strangers' plugins, in one worker."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._records: dict[str, _Record] = {}

    def refusal(self, route: Route) -> RouteOff | None:
        """Why a request is not given to its route; None if it is."""
        record = self._records.get(route.key)
        if record is None:
            return None
        wait_s = record.off_until - self._clock()
        return RouteOff(record.plugin, wait_s) if wait_s > 0 else None

    def failed(self, route: Route, reason: str) -> None:
        """A request to the route ended in an unexpected error."""
        record = self._record(route)
        if record is None:
            return
        now = self._clock()
        record.reason = reason
        record.failures.append(now)
        if record.off_until and now - record.off_until > LAST_PAUSE_S:  # it was well for long
            record.pause_s = FIRST_PAUSE_S
        if len(record.failures) == FAILURES and now - record.failures[0] <= WINDOW_S:
            record.failures.clear()
            record.off_until = now + record.pause_s
            logger.error("route %s of the plugin %s is off for %.0f s", route.key, record.plugin, record.pause_s)
            record.pause_s = min(2 * record.pause_s, LAST_PAUSE_S)

    def interrupted(self, route: Route, reason: str) -> None:
        """A request to the route held up all others and was interrupted."""
        record = self._record(route)
        if record is not None:
            record.reason, record.off_until = reason, math.inf
            logger.error("route %s of the plugin %s is off until the server is started again", route.key, record.plugin)

    def problems(self) -> dict[str, str]:
        """Plugins with routes that are off, with what is wrong."""
        now = self._clock()
        found: dict[str, str] = {}
        for key, record in self._records.items():
            if record.off_until > now:
                until = (
                    "the server restarts" if math.isinf(record.off_until) else f"{record.off_until - now:.0f} s pass"
                )
                found[record.plugin] = f"route {key} is off until {until}: {record.reason}"
        return found

    def _record(self, route: Route) -> _Record | None:
        if route.owner is None or route.owner.name in BUILT_IN:
            return None
        return self._records.setdefault(route.key, _Record(route.owner.name, deque(maxlen=FAILURES)))
