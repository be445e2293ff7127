"""A clock and a disk that a test moves: imported by each Python process that has this directory on its path.

`FAULTS_WORLD` names a file of four doubles, which the test writes and the processes map: seconds by which the clock is
wrong; whether the disk stands still; seconds that each write takes; whether nothing can be made to last. The disk is what
goes through `write`, `pwrite` and `fsync` of regular files, in Python and in SQLite; only Python's `fsync` fails. Only
processes that a test started know of it.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
import struct
import time

_world = os.environ.get("FAULTS_WORLD")
_POLL_S = 0.01


def _move(path: str) -> None:
    with open(path, "rb") as file:
        world = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    read = struct.Struct("dddd").unpack_from
    real_time, real_time_ns, sleep = time.time, time.time_ns, time.sleep

    def moved_time() -> float:
        return real_time() + read(world)[0]

    def moved_time_ns() -> int:
        return real_time_ns() + int(read(world)[0] * 1e9)

    def wait() -> None:
        while read(world)[1]:
            sleep(_POLL_S)
        slow = read(world)[2]
        if slow:
            sleep(slow)

    time.time, time.time_ns = moved_time, moved_time_ns
    if "FAULTS_DISK" in os.environ:
        _slow_down(wait, lambda: bool(read(world)[3]))


def _slow_down(wait, is_failing) -> None:
    real_write, real_fsync = os.write, os.fsync

    def write(descriptor, data) -> int:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            wait()
        return real_write(descriptor, data)

    def fsync(descriptor) -> None:
        wait()
        if is_failing():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real_fsync(descriptor)

    os.write, os.fsync = write, fsync

    import apsw

    class File(apsw.VFSFile):
        def __init__(self, name, flags) -> None:
            super().__init__("unix", name, flags)

        def xWrite(self, data, offset) -> None:  # noqa: N802 - SQLite's name
            wait()
            super().xWrite(data, offset)

        def xSync(self, flags) -> None:  # noqa: N802 - SQLite's name
            wait()
            super().xSync(flags)

    class Disk(apsw.VFS):
        def __init__(self) -> None:
            super().__init__("faults", "unix", makedefault=True)

        def xOpen(self, name, flags) -> File:  # noqa: N802 - SQLite's name
            return File(name, flags)

    globals()["_disk"] = Disk()  # as long as the process lives


if _world:
    _move(_world)
