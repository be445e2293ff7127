"""What `world/sitecustomize.py` shows to processes: a clock that is wrong, a disk that is slow or stands still."""

from __future__ import annotations

import os
import struct
from pathlib import Path

_DIRECTORY = Path(__file__).with_name("world")


class World:
    """The clock and the disk of the processes that are started with `environment`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._values = [0.0, 0.0, 0.0, 0.0]
        path.write_bytes(struct.pack("dddd", *self._values))

    def environment(self, *, disk: bool = False) -> dict[str, str]:
        """Variables for a process that shall live in it; `disk`: its disk, too, which makes it slower at all times."""
        found = {"PYTHONPATH": os.pathsep.join([str(_DIRECTORY), *_inherited()]), "FAULTS_WORLD": str(self._path)}
        return {**found, "FAULTS_DISK": "1"} if disk else found

    def set_clock(self, seconds: float) -> None:
        """From now on the clock is wrong by so many seconds."""
        self._set(0, seconds)

    def stall(self, stalled: bool) -> None:
        """Let the disk stand still, or go on."""
        self._set(1, float(stalled))

    def slow_down(self, seconds: float) -> None:
        """Let each write take so many seconds."""
        self._set(2, seconds)

    def break_fsync(self, broken: bool) -> None:
        """Let the `fsync` of every process fail, and with it each promise that something lasts; SQLite's own goes on."""
        self._set(3, float(broken))

    def reset(self) -> None:
        """A right clock, and a disk that is fast and works."""
        for number in range(4):
            self._set(number, 0.0)

    def _set(self, number: int, value: float) -> None:
        self._values[number] = value
        with self._path.open("r+b") as file:
            os.pwrite(file.fileno(), struct.pack("d", value), 8 * number)


def _inherited() -> list[str]:
    return [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
