"""The garbage collector in a process that runs one command: a fifth of a short one's time, if nobody tells it better."""

from __future__ import annotations

import atexit
import gc

_USUAL = gc.get_threshold()
_RARE = 50_000  # the usual few hundred have it look at all modules again and again while they load


def collect_rarely() -> None:
    """For commands that end soon. What is garbage when they end is not looked for."""
    gc.set_threshold(_RARE, *_USUAL[1:])
    atexit.register(gc.freeze)


def collect_as_usual() -> None:
    """For a command that stays, and whose answers must not wait for long collections."""
    gc.set_threshold(*_USUAL)
