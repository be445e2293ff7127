"""How long what users are promised may take in tests.

Ten times slower is a defect, twice as slow is another process that has the processors: tests allow `TOLERANCE` times the
promise, and nothing else is asked about how long something takes. Speed is measured by `benchmarks/`.
"""

from __future__ import annotations

TOLERANCE = 2.0

ENDED_S = 5 * TOLERANCE
"""After SIGTERM or SIGINT a server has ended, whatever it is doing."""

FOUND_DEAD_S = 35 * TOLERANCE
"""A training that was killed is shown as failed, though nobody asks."""

LISTING_TIMED_OUT_S = 16 * TOLERANCE
"""A listing on a server that stopped is answered, with 408."""

FOUND_FROZEN_S = 45 * TOLERANCE
"""A server that stopped is shown as not connected."""

FOUND_KILLED_S = 2 * TOLERANCE
"""A server whose connections were cut is shown as not connected."""

CANCELLED_S = 1 * TOLERANCE
"""A download or a sync that is cancelled has ended."""

HEALTH_P99_S = 0.1 * TOLERANCE
"""99 of 100 requests for `/api/health` are answered, whatever another machine does."""

MIRROR_ENDED_S = 1 * TOLERANCE
"""A mirror has stopped, also in the middle of a large file."""


def followed_s(interval_s: float) -> float:
    """A line that was logged on another machine is in the read models here, for a mirror that looks so often."""
    return (interval_s + 1) * TOLERANCE
