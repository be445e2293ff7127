"""What `/api/health` says about a plugin: its own report, checked, and not at any price."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest

from runicorn.hookspecs import hookimpl
from runicorn.host import Plugin, PluginHost
from runicorn.patience import TookTooLong
from runicorn.server.error_budget import ErrorBudget
from runicorn.server.health import Health
from runicorn.server.loop_watch import LoopWatch
from runicorn.server.plugin_health import PluginHealth
from runicorn.store import Store


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


CLOCK = Clock()


def asking(hook: Callable[[], object], plugin: str = "stranger") -> Callable[[], Health]:
    """A function that asks for the health of a plugin with this hook."""
    module = ModuleType(plugin)

    @hookimpl
    def runicorn_health(store: Store) -> Any:
        return hook()

    module.runicorn_health = runicorn_health  # type: ignore[attr-defined]  # a double stands in
    host = PluginHost([Plugin(plugin, "1", "d", "enabled", module=module)])
    watch = cast(LoopWatch, SimpleNamespace(problems=dict))
    health = PluginHealth(host, ErrorBudget(CLOCK), watch, CLOCK)
    return lambda: health.report(cast(Store, None), {}, {})[plugin]


def raises(error: BaseException) -> Callable[[], object]:
    def hook() -> object:
        raise error

    return hook


@pytest.mark.parametrize(
    ("hook", "expected"),
    [
        (lambda: Health("degraded", "half"), Health("degraded", "half")),
        (lambda: None, Health("ok")),
        (lambda: "fine", Health("error", "health: returned str, not a Health")),
        (
            lambda: Health("fine"),
            Health("error", "health: returned a Health with a status or a detail that there is not"),
        ),  # type: ignore[arg-type]  # as wrong as a caller can be, or rows of a known table
        (
            lambda: Health("ok", 5),
            Health("error", "health: returned a Health with a status or a detail that there is not"),
        ),  # type: ignore[arg-type]  # as wrong as a caller can be, or rows of a known table
        (lambda: Health("ok", "x" * 501), Health("ok", "x" * 500 + "…")),
        (raises(KeyError("x")), Health("error", "health: KeyError: 'x'")),
        (raises(SystemExit(5)), Health("error", "health: SystemExit: 5")),
        (raises(OSError("no /secret/place/file.txt")), Health("error", "health: OSError: no file.txt")),
    ],
)
def test_the_report_of_a_hook_is_checked(hook: Callable[[], object], expected: Health) -> None:
    assert asking(hook)() == expected


def test_a_slow_hook_is_asked_so_seldom_that_it_costs_one_percent() -> None:
    calls: list[float] = []

    def hook() -> Health:
        calls.append(CLOCK.now)
        CLOCK.now += 0.5
        return Health("ok")

    ask = asking(hook)
    first = ask()
    assert first == Health("degraded", "health took 0.5 s, and is asked less often therefore")
    CLOCK.now += 49
    assert ask() == first
    assert len(calls) == 1
    CLOCK.now += 2
    assert ask() == first
    assert len(calls) == 2


def test_a_slow_hook_of_ours_is_asked_each_time() -> None:
    def hook() -> Health:
        CLOCK.now += 0.5
        return Health("ok", "slow disk")

    ask = asking(hook, "runs")
    assert [ask(), ask()] == [Health("ok", "slow disk")] * 2


def test_a_hook_that_was_interrupted_is_asked_no_more() -> None:
    calls: list[int] = []

    def hook() -> object:
        calls.append(1)
        raise TookTooLong("x.y, line 3 has held up all requests for 30 s")

    ask = asking(hook)
    told = Health("error", "health is not asked any more: x.y, line 3 has held up all requests for 30 s")
    assert [ask(), ask()] == [told, told]
    assert calls == [1]
