"""Commands on a terminal: what they send to it."""

from __future__ import annotations

import os
import pty
import subprocess
import sys


def on_terminal(*arguments: str, columns: int = 200, status: int = 0, **more: str) -> str:
    """What a terminal is sent by `runicorn`, on standard output and error, until it ends with this exit status.

    `more` are variables of its environment.
    """
    return python_on_terminal("-m", "runicorn", *arguments, columns=columns, status=status, **more)


def python_on_terminal(*arguments: str, columns: int = 200, status: int = 0, **more: str) -> str:
    """The same of Python with these arguments."""
    ours, theirs = pty.openpty()
    environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    environment |= {"COLUMNS": str(columns), "LINES": "50", "TERM": "xterm-256color", **more}
    line = [sys.executable, *arguments]
    with subprocess.Popen(line, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        sent = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            sent += part
        os.close(ours)
        assert process.wait(60) == status, sent.decode()
    return sent.decode()
