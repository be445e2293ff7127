"""When a line was logged. Lines begin with `HH:MM:SS | `; the date is worked out from the run and the lines before."""

from __future__ import annotations

import re
import time
from typing import NamedTuple

_PREFIX = re.compile(rb"\n([012][0-9]:[0-5][0-9]:[0-5][0-9]) \| ")
_DAY_S = 86400
_HALF_DAY_S = _DAY_S // 2


class Clock(NamedTuple):
    """The time of the last line that has one, and how many midnights passed since the first line."""

    day: int = 0
    time: str | None = None

    def after(self, data: bytes) -> Clock:
        """The clock at the end of the lines `data`. A time that is half a day or more earlier is of the next day."""
        found = times_in(data)
        if not found:
            return self
        day, last = self.day, self.time
        if last is None or found[0] < last or found != sorted(found):
            for at in found:
                if last is not None and seconds(last) - seconds(at) >= _HALF_DAY_S:
                    day += 1
                last = at
        return Clock(day, found[-1])

    def at(self, created: float | None, first: str | None) -> float | None:
        """Unix seconds, in the time zone of this machine; None without a time.

        `first` is the first time in the log: its date is the one that brings it closest to when the run was `created`.
        """
        if self.time is None or first is None or created is None:
            return None
        base = time.localtime(created)
        offset = seconds(first) - (base.tm_hour * 3600 + base.tm_min * 60 + base.tm_sec)
        shift = 1 if offset < -_HALF_DAY_S else -1 if offset > _HALF_DAY_S else 0
        hours, minutes, rest = (int(part) for part in self.time.split(":"))
        date = (base.tm_year, base.tm_mon, base.tm_mday + shift + self.day)
        try:
            return time.mktime((*date, hours, minutes, rest, 0, 0, -1))
        except (OverflowError, ValueError):
            return None


def times_in(data: bytes) -> list[str]:
    """The times that lines in `data` begin with, which begins where a line does."""
    # A literal newline in front is what the regular expression engine can jump to.
    return [at.decode() for at in _PREFIX.findall(b"\n" + data.replace(b"\r", b"\n"))]


def seconds(at: str) -> int:
    """Seconds since midnight of `HH:MM:SS`."""
    return int(at[:2]) * 3600 + int(at[3:5]) * 60 + int(at[6:])
