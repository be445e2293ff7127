"""After how long a silence a running run is shown as stale. Nothing is judged by it, and nothing written."""

from __future__ import annotations

from runicorn.config import positive_number

_STALE_AFTER_S = 1800.0


def stale_after_s() -> float:
    """For how many seconds a running run may be silent: `RUNICORN_STALE_AFTER`, else half an hour."""
    return positive_number("RUNICORN_STALE_AFTER", _STALE_AFTER_S)
