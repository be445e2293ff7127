"""Which stored times are believed: those of a clock that was set back are, those of one that was far ahead are not."""

from __future__ import annotations

_AHEAD_S = 366 * 86400.0
_WRITTEN_AT = 1735689600.0  # 2025-01-01: this was written later, so a clock that says less has not been set yet
_NEVER = 253402300800.0  # 10000-01-01


def latest_believable(now: float) -> float:
    """The latest stored time, in Unix seconds, that writers follow when the clock says `now`.

    Later ones are damage, or of a clock that was wrong for a moment. All that are dates count while the clock itself
    says nothing, as on machines that begin at 1970 until they are told the time.
    """
    return now + _AHEAD_S if now >= _WRITTEN_AT else _NEVER
