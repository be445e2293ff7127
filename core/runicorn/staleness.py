"""After how long a silence a running run is shown as stale. Nothing is judged by it, and nothing written."""

from __future__ import annotations

import os

_STALE_AFTER_S = 1800.0


def stale_after_s() -> float:
    """For how many seconds a running run may be silent: `RUNICORN_STALE_AFTER`, else half an hour."""
    try:
        seconds = float(os.environ.get("RUNICORN_STALE_AFTER", ""))
    except ValueError:
        return _STALE_AFTER_S
    return seconds if seconds > 0 else _STALE_AFTER_S
