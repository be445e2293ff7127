"""A log server in a process of its own, and clients of it."""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

DEADLINE_S = 20.0


class LogServer:
    """A running server; `root` holds its runs."""

    def __init__(self, root: Path, *arguments: str) -> None:
        self.root = root
        self._stderr = root.with_name(f"{root.name}.stderr")
        with self._stderr.open("w") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("log_server.py")), str(root), *arguments],
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        assert self.process.stdout is not None
        self.address = f"127.0.0.1:{int(self.process.stdout.readline())}"
        self._clients = contextlib.ExitStack()

    def log(self, run_id: str = "run") -> Path:
        """The path of a run's log; the run's directory exists."""
        directory = self.root / run_id
        directory.mkdir(exist_ok=True)
        return directory / "logs.txt"

    def connect(self, run_id: str = "run", query: str = "", **options: Any) -> Client:
        connecting = connect(f"ws://{self.address}/api/runs/{run_id}/logs/ws{query}", **options)
        connection = self._clients.enter_context(connecting)
        self._clients.callback(connection.close_socket)  # on leaving, the other side is not waited for
        return Client(connection)

    def debug(self) -> dict[str, Any]:
        """What the process holds."""
        with urllib.request.urlopen(f"http://{self.address}/debug", timeout=DEADLINE_S) as response:
            return json.load(response)

    def disconnect(self) -> None:
        """Let all clients go, and forget the runs."""
        self._clients.close()
        for directory in self.root.iterdir():
            directory.rename(self.root.with_name(f"{self.root.name}.{next(_used)}"))

    def stop(self) -> str:
        """Stop it with SIGTERM; what it wrote to stderr."""
        self._clients.close()
        self.process.terminate()
        self.process.communicate(timeout=DEADLINE_S)
        return self._stderr.read_text()


_used = itertools.count()


class Client:
    """A client that reads frames with a deadline."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    def frame(self) -> str:
        frame = self.connection.recv(timeout=DEADLINE_S)
        assert isinstance(frame, str)
        return frame

    def frames(self, count: int) -> list[str]:
        return [self.frame() for _ in range(count)]

    def is_silent(self, seconds: float) -> bool:
        """Whether no frame comes for some time."""
        try:
            self.connection.recv(timeout=seconds)
        except TimeoutError:
            return True
        return False

    def closed(self) -> tuple[int, str]:
        """Wait for the close without any further frame; its code and reason."""
        try:
            frame = self.connection.recv(timeout=DEADLINE_S)
        except ConnectionClosed:
            assert self.connection.close_code is not None
        else:
            raise AssertionError(f"not closed, but {frame!r}")
        return self.connection.close_code, self.connection.close_reason or ""


def eventually(condition: Callable[[], bool], deadline_s: float = DEADLINE_S) -> bool:
    """Wait until `condition` holds; False if it does not in time."""
    deadline = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
