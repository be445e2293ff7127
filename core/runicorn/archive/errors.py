"""What may be wrong with an archive."""

from __future__ import annotations

from typing import Literal

from runicorn.errors import BadInput

Reason = Literal[
    "empty file",
    "not a zip or tar archive",
    "not an exported log",
    "truncated or damaged",
    "too many members",
    "unpacked size too large",
]


class UnusableArchive(BadInput):
    """The archive cannot be imported; nothing of it was. `reason` alone is for the command line."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(f"Unsupported or corrupted archive: {reason}")
        self.reason = reason
