"""What `/api/health` says about each plugin: its own report, unless the server knows of something worse."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping
from typing import cast

from runicorn.host import Plugin, PluginHost, describe
from runicorn.patience import BUILT_IN, TookTooLong
from runicorn.server.error_budget import ErrorBudget
from runicorn.server.health import Health
from runicorn.server.loop_watch import LoopWatch
from runicorn.store import Store

logger = logging.getLogger("runicorn.server")

_SLOW_S = 0.1
_SHARE = 0.01  # of the event loop's time that a slow report may take
_LONGEST = 500
_STATES = frozenset({"ok", "degraded", "error", "disabled"})
_PATH = re.compile(r"(?<![\w.])(?!/api/)(?:[A-Za-z]:)?[/\\](?:[^\s'\":;,()\[\]]+[/\\])+")


class PluginHealth:
    """The health of all plugins, in one worker."""

    def __init__(
        self,
        host: PluginHost,
        budget: ErrorBudget,
        watch: LoopWatch,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._host = host
        self._budget = budget
        self._watch = watch
        self._clock = clock
        self._kept: dict[str, tuple[float, Health]] = {}
        """Reports of hooks that are too slow to be asked each time, and until when they count."""

    def report(self, store: Store, failed: Mapping[str, str], slow: Mapping[str, str]) -> dict[str, Health]:
        """By plugin; `failed` and `slow` are what the projector says about them."""
        failed = {**self._budget.problems(), **failed}
        slow = {**self._watch.problems(), **slow}
        return {plugin.name: self._of(plugin, store, failed, slow) for plugin in self._host.plugins}

    def _of(self, plugin: Plugin, store: Store, failed: Mapping[str, str], slow: Mapping[str, str]) -> Health:
        if plugin.state == "disabled":
            return Health("disabled", plugin.error)
        if plugin.state == "failed":
            return Health("error", without_paths(plugin.error or "failed"))
        if plugin.name in failed:
            return Health("error", without_paths(failed[plugin.name]))
        own = self._own_report(plugin, store)
        if plugin.name in slow and own.status == "ok":
            return Health("degraded", slow[plugin.name])
        return own

    def _own_report(self, plugin: Plugin, store: Store) -> Health:
        if "health" not in plugin.hooks:
            return Health("ok")
        until, kept = self._kept.get(plugin.name, (0.0, None))
        started = self._clock()
        if kept is not None and started < until:
            return kept
        try:
            report = _checked(self._host.call(plugin, "health", store=store))
        except KeyboardInterrupt:
            raise
        except TookTooLong as error:
            report = Health("error", f"health is not asked any more: {error}")
            self._kept[plugin.name] = (float("inf"), report)
            return report
        except BaseException as error:  # a stranger's code: whatever it raises concerns this plugin alone
            report = Health("error", without_paths(f"health: {describe(error)}"))
        took = self._clock() - started
        if took > _SLOW_S and plugin.name not in BUILT_IN:
            logger.warning("plugin %s took %.1f s for its health, on the event loop", plugin.name, took)
            if report.status == "ok":
                report = Health("degraded", f"health took {took:.1f} s, and is asked less often therefore")
            self._kept[plugin.name] = (self._clock() + took / _SHARE, report)
        return report


def _checked(report: object) -> Health:
    if report is None:
        return Health("ok")
    if not isinstance(report, Health):
        return Health("error", f"health: returned {type(report).__name__}, not a Health")
    detail = cast(object, report.detail)  # a struct takes any value
    if report.status not in _STATES or not isinstance(detail, str | None):
        return Health("error", "health: returned a Health with a status or a detail that there is not")
    if report.detail is not None and len(report.detail) > _LONGEST:
        return Health(report.status, f"{report.detail[:_LONGEST]}…")
    return report


def without_paths(text: str) -> str:
    """`text` with directories cut off the files that it names. Routes of the API stay."""
    return _PATH.sub("", text)
