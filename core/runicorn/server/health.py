"""What a plugin says about itself in `/api/health`."""

from __future__ import annotations

from typing import Literal

import msgspec


class Health(msgspec.Struct, frozen=True):
    """`status` of one plugin, with one line of `detail` for people."""

    status: Literal["ok", "degraded", "error", "disabled"]
    detail: str | None = None
