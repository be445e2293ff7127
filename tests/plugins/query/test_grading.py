"""How the health of the storage is graded."""

from __future__ import annotations

import pytest

from runicorn_query.routes.analytics import grade


@pytest.mark.parametrize(
    ("took_ms", "size_mib", "lag_s", "expected"),
    [
        (0.27, 0.1, 0.0, ("excellent", 100.0, [])),
        (100.0, 1000.0, 60.0, ("excellent", 100.0, [])),
        (100.01, 1000.0, 60.0, ("good", 80.0, ["Slow queries detected: 100.0ms"])),
        (0.0, 1000.26, 0.0, ("good", 90.0, ["Large database size: 1000.3MB"])),
        (0.0, 0.0, 60.6, ("good", 80.0, ["Read model is behind: 61s"])),
        (123.45678, 2048.0, 0.0, ("fair", 70.0, ["Slow queries detected: 123.5ms", "Large database size: 2048.0MB"])),
        (250.0, 0.0, 90.0, ("fair", 60.0, ["Slow queries detected: 250.0ms", "Read model is behind: 90s"])),
        (
            1e3,
            5e3,
            1e4,
            (
                "poor",
                50.0,
                ["Slow queries detected: 1000.0ms", "Large database size: 5000.0MB", "Read model is behind: 10000s"],
            ),
        ),
    ],
)
def test_what_is_wrong_costs_points_and_is_named(
    took_ms: float, size_mib: float, lag_s: float, expected: tuple[str, float, list[str]]
) -> None:
    assert grade(took_ms, size_mib, lag_s) == expected
