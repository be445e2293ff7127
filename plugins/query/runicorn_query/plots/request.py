"""What a client wants to see of a run's curves."""

from __future__ import annotations

import math
import re
from typing import Literal

import msgspec

from runicorn.plugin import BadInput
from runicorn_query.filters import split_list

Axis = Literal["step", "time", "wall"]
AXES: tuple[Axis, ...] = ("step", "time", "wall")
STEP = "global_step"

_STEP_RANGE = re.compile(r"\s*([+-]?[0-9]{1,4000})\s*:\s*([+-]?[0-9]{1,4000})\s*", re.ASCII)


class PlotRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows of a run, and how many of them. None: no condition."""

    metrics: tuple[str, ...] | None = None
    """In the order of the answer; None: all that the run has."""
    steps: tuple[int, int] | None = None
    """The first and the last step that counts."""
    x: Axis = "step"
    """What the curves are drawn over: the step, seconds since the run's first event, or Unix seconds."""
    start: float | None = None
    end: float | None = None
    """The first and the last `x` that counts."""
    most: int | None = None
    """At most that many rows."""
    smoothing: float = 0.0
    envelope: bool = False

    def __post_init__(self) -> None:
        if self.x not in AXES:
            raise BadInput("Invalid value for x: must be step, time or wall")
        if not 0.0 <= self.smoothing < 1.0:
            raise BadInput("Invalid value for smoothing: must be at least 0 and less than 1")
        if self.most is not None and self.most < 1:
            raise BadInput("Invalid value for downsample: must be at least 1")

    @property
    def step_bounds(self) -> tuple[float, float]:
        """The first and the last step that counts, exact where they are integers."""
        low, high = self.steps or (-math.inf, math.inf)
        if self.x == "step":
            low = low if self.start is None else max(low, self.start)
            high = high if self.end is None else min(high, self.end)
        return low, high

    @property
    def time_bounds(self) -> tuple[float, float]:
        """The first and the last time that counts; everything where `x` is the step."""
        if self.x == "step":
            return -math.inf, math.inf
        return -math.inf if self.start is None else self.start, math.inf if self.end is None else self.end

    @property
    def needs_time(self) -> bool:
        """Whether rows without a time are left out."""
        return self.x != "step"


def parse_metric_names(text: str | None) -> tuple[str, ...] | None:
    """A comma list without empty and repeated parts and without `global_step`, which is always there; None: all."""
    names = tuple(dict.fromkeys(name for name in split_list(text) if name != STEP))
    return names or None


def parse_step_range(text: str | None) -> tuple[int, int] | None:
    """`min:max`, both included; None if there is none. BadInput for anything else."""
    if text is None or not text.strip():
        return None
    found = _STEP_RANGE.fullmatch(text)
    if found is None:
        raise BadInput("Invalid step_range format, use 'min:max'")
    return int(found[1]), int(found[2])
