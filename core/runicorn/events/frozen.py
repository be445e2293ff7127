"""The log held still: every stream reaches as far as it did when it was first looked at, whatever is appended meanwhile.

Read models that are brought level with it hold the same events. A stream that is truncated, replaced or removed meanwhile
cannot be held: it is let go, and held again as it is then.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator
from pathlib import Path

from runicorn.events.envelope import Lines
from runicorn.events.log import READ_BYTES, FileLog, Position, Stream


class FrozenLog(FileLog):
    """Reads the streams of a root that others append to."""

    def __init__(self, root: Path, state_dir: Path) -> None:
        super().__init__(root, state_dir)
        self._held: dict[Stream, Position | None] = {}

    def position(self, stream: Stream) -> Position | None:
        """See `FileLog`: as it was when the stream was first looked at since it was let go."""
        if stream not in self._held:
            self._held[stream] = super().position(stream)
        return self._held[stream]

    def is_held(self, stream: Stream) -> bool:
        """Whether the stream still reaches as far as it did; False once it turned out to be another one."""
        return stream in self._held

    def let_go(self) -> None:
        """Hold no stream any more: one position after the other would fill the memory."""
        self._held.clear()

    def read_part(
        self, stream: Stream, *, after: int = 0, head: bytes = b"", limit: int = READ_BYTES
    ) -> tuple[Lines, Position, bool]:
        """See `FileLog`."""
        with self._held_unless_it_fails(stream):
            return super().read_part(stream, after=after, head=head, limit=limit)

    def checksum(self, stream: Stream, end: int, *, after: int = 0, before: int = 0) -> int:
        """See `FileLog`."""
        with self._held_unless_it_fails(stream):
            return super().checksum(stream, end, after=after, before=before)

    @contextlib.contextmanager
    def _held_unless_it_fails(self, stream: Stream) -> Generator[None]:
        try:
            yield
        except OSError:
            self._held.pop(stream, None)
            raise

    def _as_read(self, stream: Stream, stat: os.stat_result) -> Position:
        held = self._held.get(stream)
        if held is not None and held.inode == stat.st_ino and held.size <= stat.st_size:
            return held
        self._held.pop(stream, None)
        return super()._as_read(stream, stat)
