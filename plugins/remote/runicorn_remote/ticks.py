"""Changes that no time tells: a file that is written twice within one tick of the server's clock.

SFTP knows whole seconds, and so do some file systems. What is read while the second of the last change may still last can
be another content a moment later, with the same size and time. So it is read once more when that second is certainly over:
by the clock of this machine, two seconds after the file was first seen in this form. Clocks are not compared.
"""

from __future__ import annotations

import time

from runicorn_remote.enumeration import RemoteFile

TICK_S = 2.0
"""FAT has the longest ticks."""

_FINE_TICK_S = 0.1
"""Of times that have a fraction: kernels count in hundredths of a second at least."""

_SECOND_NS = 10**9


class Ticks:
    """When files were first seen as they are now. For several threads."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, int, float]] = {}

    def note(self, file: RemoteFile) -> None:
        """It is seen in this form, maybe for the first time."""
        before = self._seen.get(file.path)
        if before is None or before[:2] != (file.size, file.mtime_ns):
            self._seen[file.path] = (file.size, file.mtime_ns, time.monotonic())

    def is_noted(self, file: RemoteFile) -> bool:
        """Whether its last look came maybe too early."""
        return self._seen.get(file.path, ())[:2] == (file.size, file.mtime_ns)

    def is_over(self, file: RemoteFile, at: float) -> bool:
        """Whether who looked at a noted file at a monotonic time has seen the last content that it has in this form."""
        seen = self._seen.get(file.path)
        if seen is None or seen[:2] != (file.size, file.mtime_ns):
            return False
        return at - seen[2] >= (TICK_S if is_whole_seconds(file.mtime_ns) else _FINE_TICK_S)

    def forget(self, path: str) -> None:
        """It was looked at late enough, or is gone."""
        self._seen.pop(path, None)

    def paths(self) -> list[str]:
        """The files that are noted."""
        return list(self._seen)


def is_whole_seconds(mtime_ns: int) -> bool:
    """Whether a time is one of a coarse clock, as far as it tells."""
    return mtime_ns % _SECOND_NS == 0


def is_recent(mtime_ns: int, newest_ns: int) -> bool:
    """Whether the tick of a change may still last, where the newest file is as old as `newest_ns` says at most."""
    return newest_ns - mtime_ns <= TICK_S * _SECOND_NS
