"""Words as values: numbers, durations, times."""

from __future__ import annotations

import math
import re
from datetime import date, datetime, timedelta

from runicorn_query.language.syntax import Span

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_DURATION = re.compile(r"(?:[0-9]{1,12}(?:\.[0-9]{1,12})?[smhdw])+", re.ASCII)
_PART = re.compile(r"([0-9.]+)([smhdw])", re.ASCII)
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


def number(text: str) -> float | None:
    """A finite decimal number; None for anything else."""
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return value if math.isfinite(value) else None


def duration(text: str) -> float | None:
    """Seconds of `90s`, `1h30m`, `1.5d`, `2w`; None for anything else."""
    if not _DURATION.fullmatch(text):
        return None
    return sum(float(amount) * _SECONDS[unit] for amount, unit in _PART.findall(text))


def time(text: str, now: float) -> Span | float | None:
    """A moment, or a whole day: `2025-01-14`, `2025-01-14T15:30`, with `Z` or `+01:00`, Unix seconds, `7d` before `now`.

    Without a zone it is the local time of this machine, as in the ids of runs. None for anything else.
    """
    seconds = number(text)
    if seconds is not None:
        return seconds
    ago = duration(text)
    if ago is not None:
        return now - ago
    if not _DAY.match(text):
        return None
    try:
        if _DAY.fullmatch(text):
            day = date.fromisoformat(text)
            return Span(_midnight(day), _midnight(day + timedelta(days=1)))
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def _midnight(day: date) -> float:
    return datetime(day.year, day.month, day.day).timestamp()
