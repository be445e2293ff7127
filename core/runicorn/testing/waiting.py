"""Waiting for a condition, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable

_LOOK_S = 0.02


def wait_until(condition: Callable[[], object], what: str = "the condition", timeout_s: float = 20.0) -> None:
    """Return once `condition()` is true. AssertionError after `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s for {what}"
        time.sleep(_LOOK_S)
