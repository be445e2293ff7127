"""The log as it was: every stream with the events up to a moment, and without those that came later.

What counts is the time of the event itself, also within a stream whose clock was set back. An event without a usable time
belongs to the one before it in its stream, and has its time; at the start of a stream it is older than everything. Offsets
are those of the file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from runicorn.events.envelope import Lines
from runicorn.events.log import READ_BYTES, FileLog, Position, Stream, StreamReplaced

_FIRST_BYTES = 4 << 10  # the first events of a stream: most often one of them is old enough


def moment_text(ts: float) -> str:
    """A moment in ISO 8601, in UTC."""
    try:
        return datetime.fromtimestamp(ts, UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):  # beyond the calendar
        return f"{ts} s"


class PastLog(FileLog):
    """Reads what the streams of `root` held at `until`, in Unix seconds. A stream that had no event yet does not exist."""

    def __init__(self, root: Path, state_dir: Path, until: float) -> None:
        super().__init__(root, state_dir)
        self.until = until
        self._reached: dict[Stream, tuple[int, float]] = {}
        """Of streams that are being read: an offset, and the time of the last event before it."""

    def sized_streams(self) -> Iterator[tuple[Stream, int]]:
        """Every stream that had an event by then."""
        return (found for found in super().sized_streams() if self._has_begun(found[0]))

    def read_part(
        self, stream: Stream, *, after: int = 0, head: bytes = b"", limit: int = READ_BYTES
    ) -> tuple[Lines, Position, bool]:
        """See `FileLog`. `end` may move although there is no event of that time."""
        lines, position, is_level = super().read_part(stream, after=after, head=head, limit=limit)
        last = self._time_before(stream, after)
        reached = lines.keep_until(self.until, last)
        if is_level:
            self._reached.pop(stream, None)
        else:
            self._reached[stream] = (lines.end, reached)
        return lines, position, is_level

    def _has_begun(self, stream: Stream) -> bool:
        after, limit = 0, _FIRST_BYTES
        while True:
            try:
                lines, position = self.read_level(stream, after=after, limit=limit)
            except (OSError, StreamReplaced):
                return True  # whoever reads it will find out what is wrong
            if lines.events:
                self._reached.pop(stream, None)
                return True
            if position is not None:
                return False
            after, limit = lines.end, READ_BYTES

    def _time_before(self, stream: Stream, offset: int) -> float:
        """The time of the last event before an offset; -inf if there is none."""
        if offset == 0:
            return -math.inf
        known = self._reached.get(stream)
        if known is not None and known[0] == offset:
            return known[1]
        at, last = 0, -math.inf
        while at < offset:  # nobody reads a stream from the middle on without having read it
            lines, _, _ = super().read_part(stream, after=at, limit=min(READ_BYTES, offset - at))
            if lines.end == at:
                break
            last = lines.keep_until(math.inf, last)
            at = lines.end
        return last
