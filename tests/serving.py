"""A real server in a process of its own, and a client for it."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import httpx
import pytest

START_S = 30.0
_LISTENING = re.compile(r"Runicorn is listening on (http://\S+)")


def wait_until(condition: Callable[[], object], what: str = "the condition", timeout_s: float = 20.0) -> None:
    """Return once `condition()` is true. AssertionError after `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s for {what}"
        time.sleep(0.02)


class Server:
    """`runicorn serve --port 0` on `root`. `http` is a client for it. `wrapper` is a command that runs its arguments."""

    def __init__(
        self,
        root: Path,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        wrapper: Sequence[str] = (),
    ) -> None:
        self.root = root
        command = [
            *wrapper,
            sys.executable,
            "-m",
            "runicorn",
            "serve",
            "--storage",
            str(root),
            "--port",
            "0",
            *arguments,
        ]
        self.process = subprocess.Popen(
            command,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._out: list[str] = []
        self._err: list[str] = []
        self._lines: queue.Queue[str] = queue.Queue()
        self._threads = [
            threading.Thread(target=self._collect, args=(self.process.stdout, self._out), daemon=True),
            threading.Thread(target=self._collect, args=(self.process.stderr, self._err), daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        self.url = self._wait_for_url()
        self.http = httpx.Client(base_url=self.url, timeout=20)

    @property
    def log(self) -> str:
        """What it has written to both streams so far."""
        return "".join(self._out + self._err)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.url.rpartition(":")[2])

    def stop(self, number: int = signal.SIGTERM, timeout_s: float = 15.0) -> int:
        """Send a signal and wait for the end; the exit status."""
        self.http.close()
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(timeout_s)
        for thread in self._threads:
            thread.join(timeout_s)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        return status

    def _collect(self, stream, lines: list[str]) -> None:
        for line in stream:
            lines.append(line)
            self._lines.put(line)
        self._lines.put("")

    def _wait_for_url(self) -> str:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            with contextlib.suppress(queue.Empty):
                found = _LISTENING.search(self._lines.get(timeout=0.2))
                if found:
                    return found[1]
            if self.process.poll() is not None:
                break
        self.process.kill()
        self.process.wait()
        raise AssertionError(f"the server did not start:\n{self.log}")


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start servers: `serve(root, *arguments, environment={…})`; `root` None means a new empty one."""
    servers: list[Server] = []

    def start(root: Path | None = None, *arguments: str, environment: Mapping[str, str] | None = None) -> Server:
        server = Server(root or tmp_path / "root", *arguments, environment=environment)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop(signal.SIGKILL if server.process.poll() is None and sys.exc_info()[0] else signal.SIGTERM)
