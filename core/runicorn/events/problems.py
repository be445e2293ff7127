"""What `runicorn events verify` reports."""

from __future__ import annotations

import msgspec


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong. `offset` is where in the stream; None where a whole file is damaged.

    `stream` is the name of the stream, or the path of a file below the root.
    """

    stream: str
    offset: int | None
    reason: str
