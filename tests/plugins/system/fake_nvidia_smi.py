"""A program called `nvidia-smi` that says what a test wants: a shell script in a directory for `PATH`."""

from __future__ import annotations

import os
from pathlib import Path

H200 = "0, NVIDIA H200, 37, 12, 143771, 1024, 41, 121.53, 700.00, 1980, 3201, P0, [N/A]"


class FakeNvidiaSmi:
    """`directory` belongs on `PATH`. The program notes every call."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        self._calls = directory / "calls"

    @property
    def path(self) -> str:
        """A value for `PATH` that finds it first."""
        return f"{self.directory}{os.pathsep}{os.environ['PATH']}"

    @property
    def calls(self) -> list[str]:
        """The arguments of each call so far."""
        return self._calls.read_text().splitlines() if self._calls.exists() else []

    def runs(self, script: str) -> None:
        """From now on it executes `script`."""
        program = self.directory / "nvidia-smi"
        new = self.directory / "new"
        new.write_text(f'#!/bin/sh\necho "$@" >> {self._calls}\n{script}\n')
        new.chmod(0o755)
        new.replace(program)

    def prints(self, *lines: str, status: int = 0) -> None:
        """From now on it prints `lines` and exits with `status`."""
        text = "\n".join(lines)
        self.runs(f"cat <<'END'\n{text}\nEND\nexit {status}" if lines else f"exit {status}")

    def vanishes(self) -> None:
        """From now on there is no such program."""
        (self.directory / "nvidia-smi").unlink(missing_ok=True)
