"""What `runicorn events verify` reports."""

from __future__ import annotations

import msgspec

QUARANTINE = (
    "Readers skip it and apply everything around it. `runicorn events verify --repair` copies it to the quarantine; it is"
    " a remark from then on."
)
PASSED_OVER = (
    "What does not fit is passed over, the rest of the line and everything around it is applied. `runicorn events verify"
    " --repair` copies it to the quarantine; it is a remark from then on."
)
NEXT_APPEND = (
    "The next append ends the line. If nobody appends to this stream any more, `runicorn events verify --repair` copies it"
    " to the quarantine."
)
PERMISSIONS = "Let the user of Runicorn read it; what was applied of it before is still shown."
BACKUP = "It cannot be repaired. Copy it from a backup, or remove it: readers take what is damaged in it as absent."
LOST_SEGMENT = "Copy it from a backup. What it said is lost to a replay; the segments around it are applied."


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong, or worth to know. `offset` is where in the stream; None where a whole file is meant.

    `stream` is the name of the stream, or the path of a file below the root.
    """

    stream: str
    offset: int | None
    reason: str
    repair: str = ""
    """What to do, or what will happen by itself."""
    is_remark: bool = False
    """Nothing is damaged."""
    is_line: bool = False
    """It is about the line that begins at `offset`, which can be quarantined."""
