"""A real projector process, as `serve` starts it, that tests may kill."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import apsw

from runicorn.projection.generations import is_ready, model_files
from runicorn.projection.wire import Reply, Request, Status, decode_message, encode_message, published_address
from tests.run_rows import actual_rows

DEADLINE_S = 60.0


class RunningProjector:
    """`python -m runicorn.projection` on a root. Its standard error is in `log`."""

    def __init__(
        self,
        root: Path,
        state: Path,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        plugins: str = "runs",
    ) -> None:
        self.root = root
        self.state = state
        self.log = state.parent / "projector.log"
        command = [sys.executable, "-m", "runicorn.projection", "--root", str(root), "--state-dir", str(state)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--plugins", plugins, *arguments],
                stdin=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **(environment or {})},
            )

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self._reap()

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self._reap()

    def leave_alone(self) -> int:
        """Close its standard input, as the end of its parent would; the exit status."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self._reap()

    def _reap(self) -> int:
        status = self.process.wait(DEADLINE_S)
        if self.process.stdin is not None:
            self.process.stdin.close()
        return status

    def ask(self, request: Request) -> Reply | None:
        """One request on a connection of its own; None if nobody answers."""
        address = published_address(self.state)
        if address is None:
            return None
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(DEADLINE_S)
            try:
                connection.connect(address)
                connection.sendall(encode_message(request) + b"\n")
                with connection.makefile("rb") as lines:
                    for line in lines:
                        message = decode_message(line)
                        if isinstance(message, Reply):
                            return message
            except OSError:
                return None
        return None

    def status(self) -> Status | None:
        reply = self.ask(Request(1, "status"))
        return None if reply is None else reply.status

    def is_live(self) -> bool:
        """Whether this very process answers, and its read models are complete."""
        status = self.status()
        return status is not None and status.pid == self.process.pid and status.state == "live"

    def query(self, sql: str, *, plugin: str = "runs") -> list[Any]:
        """Rows of the newest ready read model; none if there is none."""
        path = next((file.path for file in model_files(self.state, plugin) if is_ready(file.path)), None)
        if path is None:
            return []
        connection = apsw.Connection(os.fspath(path), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()

    def rows(self) -> Any:
        """The list of runs, in the form of `tests.run_rows`."""
        path = next((file.path for file in model_files(self.state, "runs") if is_ready(file.path)), None)
        if path is None:
            return {}, {}
        connection = apsw.Connection(os.fspath(path), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            connection.set_busy_timeout(5000)
            with connection:  # one snapshot for both tables
                return actual_rows(connection)
        finally:
            connection.close()

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition; the process must live meanwhile."""
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, "it did not become true\n" + self.log.read_text()
            time.sleep(0.02)
