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
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from runicorn.config import state_directory
from runicorn.events.log import FileLog
from runicorn.projection.asking import ask
from runicorn.projection.wire import Request
from runicorn.testing.waiting import wait_until

if TYPE_CHECKING:
    import httpx

_START_S = 30.0
_LEVEL_S = 30.0
_ANSWER_S = 10.0
_LOG_SHOWN = 5000
_LISTENING = re.compile(r"Runicorn is listening on (http://\S+)")


class Server:
    """`runicorn serve --port 0` on `root`, with all plugins of this environment. `http` is a client for it.

    `arguments` are further ones of `runicorn serve`. `environment` is added to the environment of this process, which the
    server has otherwise. `wrapper` is a command that runs its arguments. AssertionError, with what it has written, if it
    does not start. Stop it, or use it in a `with`.
    """

    def __init__(
        self,
        root: Path,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        wrapper: Sequence[str] = (),
    ) -> None:
        self.root = root
        self.environment = {**os.environ, **(environment or {})}
        given = arguments[arguments.index("--state-dir") + 1] if "--state-dir" in arguments else None
        self.state_dir = state_directory(root, given)
        """Where its read models are; below `root` unless `--state-dir` says otherwise."""
        serve = [sys.executable, "-m", "runicorn", "serve", "--storage", str(root), "--port", "0", *arguments]
        self.process = subprocess.Popen(
            [*wrapper, *serve],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._written: list[str] = []
        self._lines: queue.Queue[str] = queue.Queue()
        self._threads = [
            threading.Thread(target=self._collect, args=(stream,), daemon=True)
            for stream in (self.process.stdout, self.process.stderr)
            if stream is not None
        ]
        for thread in self._threads:
            thread.start()
        self.url = self._wait_for_url()
        """`http://127.0.0.1:<port>`."""

    def __enter__(self) -> Server:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        self.stop(signal.SIGTERM if kind is None else signal.SIGKILL)

    @cached_property
    def http(self) -> httpx.Client:
        """A client whose base URL is that of the server."""
        import httpx

        return httpx.Client(base_url=self.url, timeout=20, verify=False)  # plain HTTP: certificates take longer to read

    @property
    def log(self) -> str:
        """What it has written to standard output and standard error so far."""
        return "".join(self._written)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.url.rpartition(":")[2])

    def health(self) -> dict[str, Any]:
        """The answer of `/api/health`."""
        answer = self.http.get("/api/health")
        assert answer.status_code == 200, (
            f"/api/health answered {answer.status_code}: {answer.text}\n{self.log[-_LOG_SHOWN:]}"
        )
        return answer.json()

    def wait_until_live(self) -> None:
        """Return once the read models hold all that was in the log when the server started."""
        wait_until(lambda: self.health()["projector"]["state"] == "live", "the first build", _LEVEL_S)

    def wait_until_visible(self) -> None:
        """Return once every read model holds all that is in the log now, whoever wrote it.

        Reactions (`runicorn_on_events`) may come later: wait for what they do.
        """
        self.wait_until_live()
        log = FileLog(self.root, self.state_dir)
        wait_until(lambda: self._asked(Request(1, "discover")), "the projector", _LEVEL_S)
        for stream in list(log.streams()):
            wait_until(lambda name=stream.name: self._asked(Request(1, "apply", name)), stream.name, _LEVEL_S)

    def command(self, *arguments: str) -> str:
        """Run `runicorn …` in the server's environment, on its root; what it prints. AssertionError if it fails."""
        done = subprocess.run(
            [sys.executable, "-m", "runicorn", *arguments],
            env={**self.environment, "RUNICORN_DIR": str(self.root)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"runicorn {' '.join(arguments)} failed: {done.stderr}"
        return done.stdout

    def stop(self, number: int = signal.SIGTERM, timeout_s: float = 15.0) -> int:
        """Send a signal and wait for the end; the exit status."""
        if "http" in self.__dict__:
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

    def _asked(self, request: Request) -> bool:
        reply = ask(self.state_dir, request, timeout_s=_ANSWER_S)
        return reply is not None and reply.ok

    def _collect(self, stream: IO[str]) -> None:
        for line in stream:
            self._written.append(line)
            self._lines.put(line)
        self._lines.put("")

    def _wait_for_url(self) -> str:
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            with contextlib.suppress(queue.Empty):
                found = _LISTENING.search(self._lines.get(timeout=0.2))
                if found:
                    return found[1]
            if self.process.poll() is not None:
                break
        self.process.kill()
        self.stop()
        raise AssertionError(f"the server did not start:\n{self.log}")
