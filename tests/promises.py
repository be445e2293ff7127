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
