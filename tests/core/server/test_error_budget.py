"""Routes of strangers that keep failing are switched off for a while; those of ours never are."""

from __future__ import annotations

from runicorn.host import Plugin
from runicorn.server.error_budget import FAILURES, FIRST_PAUSE_S, LAST_PAUSE_S, WINDOW_S, ErrorBudget
from runicorn.server.routing import Route


def route(plugin: str = "stranger") -> Route:
    return Route(method="GET", template="/api/x", owner=Plugin(plugin, "1", "d", "enabled"))


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def spend(budget: ErrorBudget, of: Route) -> None:
    for _ in range(FAILURES):
        budget.failed(of, "ValueError: no")


def test_a_route_that_keeps_failing_is_off_for_longer_and_longer() -> None:
    clock = Clock()
    budget = ErrorBudget(clock)
    pauses: list[int | None] = []
    for _ in range(8):
        spend(budget, route())
        refusal = budget.refusal(route())
        assert refusal is not None
        pauses.append(refusal.retry_after)
        assert "route GET /api/x is off until" in budget.problems()["stranger"]
        assert "ValueError: no" in budget.problems()["stranger"]
        clock.now += refusal.retry_after or 0
        assert budget.refusal(route()) is None
        assert budget.problems() == {}
    assert pauses == [30, 60, 120, 240, 480, 900, 900, 900]
    clock.now += LAST_PAUSE_S + 1
    spend(budget, route())
    assert getattr(budget.refusal(route()), "retry_after", None) == FIRST_PAUSE_S  # it was well for long


def test_failures_now_and_then_are_within_the_budget() -> None:
    clock = Clock()
    budget = ErrorBudget(clock)
    for _ in range(10 * FAILURES):
        budget.failed(route(), "ValueError: no")
        clock.now += WINDOW_S / (FAILURES - 2)
    assert budget.refusal(route()) is None


def test_a_route_that_was_interrupted_is_off_until_a_restart() -> None:
    clock = Clock()
    budget = ErrorBudget(clock)
    budget.interrupted(route(), "x.y, line 3 has held up all requests for 30 s")
    clock.now += 1e9
    refusal = budget.refusal(route())
    assert refusal is not None
    assert refusal.retry_after is None
    assert budget.problems() == {
        "stranger": "route GET /api/x is off until the server restarts: x.y, line 3 has held up all requests for 30 s"
    }


def test_routes_of_ours_have_no_budget() -> None:
    budget = ErrorBudget(Clock())
    for of in (route("runs"), Route(method="GET", template="/api/health", owner=None)):
        spend(budget, of)
        budget.interrupted(of, "slow")
        assert budget.refusal(of) is None
    assert budget.problems() == {}
