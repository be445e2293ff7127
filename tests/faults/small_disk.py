"""A disk that is full, and has room again: a small file system of its own, or else a limit on the size of files.

To mount one takes a privilege. Without it, the processes in question may write no byte to any file: the same calls fail in
the same places, with `EFBIG` in the place of `ENOSPC`.
"""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
from collections.abc import Generator
from pathlib import Path

import psutil

_BLOCK = b"\0" * 4096


class SmallDisk:
    """A directory, and the processes that write to it."""

    def __init__(self, path: Path, *, is_mounted: bool) -> None:
        self.path = path
        self.is_mounted = is_mounted
        self._ballast = path / ".ballast"
        self._limited: list[psutil.Process] = []

    def fill(self, *pids: int) -> None:
        """Leave no room: on the disk, or else for these processes and their children."""
        if not self.is_mounted:
            for pid in pids:
                process = psutil.Process(pid)
                for one in (process, *process.children(recursive=True)):
                    self._limited.append(one)
                    one.rlimit(psutil.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
            return
        with self._ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(_BLOCK)

    def make_room(self) -> None:
        """Room as before."""
        for process in self._limited:
            with contextlib.suppress(psutil.NoSuchProcess):
                for one in (process, *process.children(recursive=True)):  # what was started meanwhile has inherited it
                    one.rlimit(psutil.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        self._limited.clear()
        self._ballast.unlink(missing_ok=True)


@contextlib.contextmanager
def small_disk(path: Path, megabytes: int = 24) -> Generator[SmallDisk]:
    """An empty directory of limited size."""
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(path)]
    is_mounted = os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield SmallDisk(path, is_mounted=is_mounted)
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", str(path)], check=True)
