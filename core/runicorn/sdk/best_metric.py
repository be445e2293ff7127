"""The best value of a run's primary metric."""

from __future__ import annotations

import sys
from typing import Any, Literal

from runicorn.errors import BadInput, shown

Mode = Literal["max", "min"]

_LARGEST = sys.float_info.max


class InvalidMode(BadInput, ValueError):
    """Neither `max` nor `min`."""

    def __init__(self, mode: object) -> None:
        super().__init__(f"Mode must be 'max' or 'min', got '{shown(str(mode))}'")


class BestMetric:
    """Follows one metric. The first finite number starts, a strictly better one replaces; all else is passed over.

    Booleans count as 1 and 0; NaN, infinities, numbers beyond a double and text never count.
    """

    def __init__(self, name: str, mode: Mode) -> None:
        if mode not in ("max", "min"):
            raise InvalidMode(mode)
        self.name = name
        self.mode: Mode = mode
        self.value: float | None = None
        self.step: int | None = None

    def offer(self, value: object, step: int) -> bool:
        """Look at a plain value that was logged; whether it is the best one now."""
        if not isinstance(value, (int, float)) or not -_LARGEST <= value <= _LARGEST:
            return False
        best = self.value
        if best is not None and not (value > best if self.mode == "max" else value < best):
            return False
        self.value = int(value) if isinstance(value, bool) else value
        self.step = step
        return True

    def summary(self) -> dict[str, Any]:
        """Its keys in `summary.json`."""
        return {
            "best_metric_value": self.value,
            "best_metric_name": self.name,
            "best_metric_step": self.step,
            "best_metric_mode": self.mode,
        }
