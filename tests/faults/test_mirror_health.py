"""`/api/health` answers at once, whatever another machine does."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.figures import Times
from benchmarks.processes import hear, running, tell
from benchmarks.store import Shape, write_store
from tests.contract.test_remote import login, ok
from tests.contract.test_remote_mirror import mirror, only, sshd
from tests.plugins.remote.mirroring import write_run
from tests.promises import HEALTH_P99_S, TOLERANCE
from tests.serving import Server, serve, wait_until
from tests.sshd import Sshd

__all__ = ["serve", "sshd"]

STALLED_S = 2.0
RUNS = 2000


@pytest.fixture
def server(serve: Callable[..., Server], tmp_path: Path) -> Server:
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    environment = {"HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config"), "SSH_AUTH_SOCK": ""}
    return serve(tmp_path / "here", "--rate-limit", "off", environment=environment)


def probed(server: Server, during: Callable[[], object]) -> Times:
    """How long `/api/health` takes meanwhile, asked by a process of its own."""
    with running("benchmarks.prober", server.url, "/api/health") as process:
        hear(process)
        during()
        tell(process)
        return Times(json.loads(hear(process)))


@pytest.fixture
def allowed_s(server: Server) -> float:
    """The promise, or as much more as this machine takes while the server has nothing else to do."""
    return max(HEALTH_P99_S, TOLERANCE * probed(server, lambda: time.sleep(STALLED_S)).p99)


@contextmanager
def under_way(server: Server, method: str, path: str, body: object = None) -> Iterator[None]:
    """A request that has nothing to be answered with while the body runs, which has to see to it that it ends then."""
    with httpx.Client(base_url=server.url, timeout=120) as client:
        thread = threading.Thread(target=lambda: client.request(method, path, json=body))
        thread.start()
        yield
        thread.join()


@pytest.mark.slow
def test_health_is_answered_at_once_while_another_machine_says_nothing(
    server: Server, sshd: Sshd, tmp_path: Path, allowed_s: float
) -> None:
    http, there = server.http, tmp_path / "there"
    write_run(there, status="running")
    with (
        socket.create_server(("127.0.0.1", 0)) as mute,
        under_way(server, "POST", "/api/unified/connect", {**login(sshd), "port": mute.getsockname()[1]}),
    ):
        connecting = probed(server, lambda: time.sleep(STALLED_S))
        mute.close()
    ok(http.post("/api/remote/connect", json=login(sshd, remote_root=str(there), auto_sync=False)))
    task = mirror(http, there, login(sshd))
    wait_until(lambda: only(http)["state"] == "watching", f"{only(http)}")
    sshd.freeze()
    try:
        with (
            under_way(server, "GET", "/api/unified/listdir"),
            under_way(server, "GET", "/api/remote/verify"),
        ):
            listing = probed(server, lambda: time.sleep(STALLED_S))
            stop = {"task_id": task["id"]}
            stopping = probed(server, lambda: ok(http.post("/api/ssh/mirror/stop", json=stop)))
            sshd.thaw()
    finally:
        sshd.thaw()
    found = {"connect": connecting, "listing and verify": listing, "stop": stopping}
    assert all(times.p99 < allowed_s for times in found.values()), f"{found}"


@pytest.mark.slow
def test_health_is_answered_at_once_during_a_first_sync(
    server: Server, sshd: Sshd, tmp_path: Path, allowed_s: float
) -> None:
    http, there = server.http, tmp_path / "there"
    for _ in write_store(there, Shape(runs=RUNS, events=2, metrics=1, writer="0.4.0")):
        pass

    def sync() -> None:
        ok(http.post("/api/remote/connect", json=login(sshd, remote_root=str(there), auto_sync=True)))
        wait_until(lambda: progress()["status"] != "running", f"{progress()}", timeout_s=180)

    def progress() -> Any:
        return ok(http.get("/api/remote/status"))["sync_progress"] or {"status": "running"}

    times = probed(server, sync)
    assert progress()["status"] == "completed"
    assert ok(http.get("/api/remote/status"))["stats"]["cached_experiments"] == RUNS
    assert times.p99 < allowed_s, f"{times}"
