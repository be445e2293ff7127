"""`runicorn serve` as users start it, in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.client import Client
from benchmarks.processes import memory

_ANNOUNCEMENT = "Runicorn is listening on "
_LEVEL_TIMEOUT_S = 1800.0


class Served(msgspec.Struct):
    """A running server."""

    url: str
    pid: int
    started: float
    """When the process was started, on the monotonic clock."""
    listening_s: float
    """Seconds from then until it said that it listens."""

    def memory(self) -> int:
        """Bytes used by all its processes."""
        return memory(self.pid)

    def health(self, client: Client) -> dict[str, Any]:
        """The answer of `GET /api/health`."""
        return json.loads(client.get("/api/health").body)

    def wait_until_level(self, client: Client, runs: int) -> None:
        """Wait until the read models show `runs` runs and nothing is known to be behind. TimeoutError after half an hour."""
        deadline = time.monotonic() + _LEVEL_TIMEOUT_S
        while True:
            self.wait_until_live(client)
            listed = client.get("/api/runs")
            if listed.status == 200 and listed.body.count(b'"run_dir":') >= runs:
                return
            if time.monotonic() > deadline:
                raise TimeoutError("the list of runs did not become complete")
            time.sleep(0.05)

    def wait_until_live(self, client: Client) -> None:
        """Wait until the first build is over and no stream is known to be behind. TimeoutError after half an hour."""
        deadline = time.monotonic() + _LEVEL_TIMEOUT_S
        while not self.is_live(client):
            if time.monotonic() > deadline:
                raise TimeoutError("the read models did not become level with the log")
            time.sleep(0.05)

    def is_live(self, client: Client) -> bool:
        """Whether the projector has nothing to catch up on that it knows of."""
        projector = self.health(client)["projector"]
        return projector["state"] == "live" and not projector["lag_s"]


@contextlib.contextmanager
def serving(root: Path, state_dir: Path, *, home: Path | None = None) -> Generator[Served]:
    """A server on `root`, with everything at its default except the rate limits, which are off.

    `home` is its home directory, if it is to have another one.
    """
    command = [sys.executable, "-m", "runicorn", "serve", "--storage", str(root), "--state-dir", str(state_dir)]
    errors = state_dir.parent / f"{state_dir.name}-serve.log"
    started = time.monotonic()
    with errors.open("ab") as log:
        process = subprocess.Popen(
            [*command, "--port", "0", "--rate-limit", "off"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=own_environment(state_dir, home=home),
        )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(_ANNOUNCEMENT):
                url = line.removeprefix(_ANNOUNCEMENT).strip()
                yield Served(url, process.pid, started, time.monotonic() - started)
                break
        else:
            raise RuntimeError(f"the server did not start: {errors.read_text('utf-8', 'replace')[-2000:]}")
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def own_environment(state_dir: Path, *, home: Path | None = None) -> dict[str, str]:
    """The environment of a server with this state directory: none of our settings, and a configuration of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RUNICORN_")}
    own = {"XDG_CONFIG_HOME": str(state_dir.parent / "config")}
    return kept | own | ({} if home is None else {"HOME": str(home)})
