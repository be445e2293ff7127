"""One thing that was looked at."""

from __future__ import annotations

from typing import Literal

import msgspec

Level = Literal["ok", "warning", "problem"]
"""`warning`: it works, but worse, or not for long. `problem`: something does not work."""


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a check found. The texts are for the terminal: they name paths."""

    check: str
    level: Level
    detail: str
    advice: str | None = None
    """What to do; None where nothing is to be done."""
