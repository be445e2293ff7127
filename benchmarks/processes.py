"""The processes that are measured: started by us, watched through /proc, ended by us."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import threading
from collections.abc import Generator, Mapping
from pathlib import Path

import psutil

_SILENCE_S = 1800.0


@contextlib.contextmanager
def running(*arguments: str, environment: Mapping[str, str] | None = None) -> Generator[subprocess.Popen[str]]:
    """A Python process `python -m <arguments>`, with text pipes; it is told to end by the end of its input."""
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        yield process
        assert process.stdin is not None
        process.stdin.close()
        status = process.wait(60)
        if status:
            raise RuntimeError(f"{arguments[0]} ended with status {status}")
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def tell(process: subprocess.Popen[str], line: str = "") -> None:
    """Send one line."""
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def hear(process: subprocess.Popen[str], timeout_s: float = _SILENCE_S) -> str:
    """The next line that it prints, without the newline. EOFError if it ended instead, or was silent for so long."""
    assert process.stdout is not None
    timer = threading.Timer(timeout_s, process.kill)
    timer.start()
    try:
        line = process.stdout.readline()
    finally:
        timer.cancel()
    if not line:
        raise EOFError("the process ended")
    return line.rstrip("\n")


def memory(pid: int) -> int:
    """Bytes that a process and all its children use: proportional set sizes, so shared pages count once."""
    try:
        family = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.NoSuchProcess:
        return 0
    return sum(map(_proportional_set_size, family))


def _proportional_set_size(pid: int) -> int:
    try:
        match = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(match[1]) << 10 if match else 0
