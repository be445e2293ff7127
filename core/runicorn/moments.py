"""Moments as people write them: a date and time, or how long ago."""

from __future__ import annotations

import math
import re
from datetime import datetime

from runicorn.errors import BadInput, shown

_AGO = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(s|m|min|h|d|w)")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def parse_moment(text: str, now: float) -> float:
    """Unix seconds of ISO 8601 (local time without an offset), or of a duration before `now`, such as `2h` or `30min`.

    BadInput for anything else.
    """
    text = text.strip()
    ago = _AGO.fullmatch(text)
    try:
        moment = now - float(ago[1]) * _SECONDS[ago[2]] if ago else datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        moment = math.nan
    if not math.isfinite(moment):
        raise BadInput(
            f"{shown(text)} is no time: give ISO 8601, such as 2025-01-14T15:30, or how long ago, such as 2h"
        )
    return moment
