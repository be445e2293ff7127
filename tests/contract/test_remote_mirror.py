"""Mirrors over HTTP: how many, what a loss and a restart cost, and what they say of themselves."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.delaying_proxy import delaying
from tests.contract.test_remote import failure, login, ok
from tests.plugins.remote.mirroring import RUN, mirrored, write_run
from tests.serving import Server, serve, wait_until
from tests.ssh_server import sshd_or_skip
from tests.sshd import Sshd

__all__ = ["serve"]

MIB = 1 << 20


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd_or_skip(home=tmp_path_factory.mktemp("remote-home")) as server:
        yield server


@pytest.fixture
def start(serve: Callable[..., Server], tmp_path: Path) -> Callable[[], Server]:
    """Start a server for the same storage root, as often as it is called."""
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    environment = {"HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config"), "SSH_AUTH_SOCK": ""}
    return lambda: serve(tmp_path / "here", "--rate-limit", "off", environment=environment)


def mirror(http: httpx.Client, there: Path, login: dict[str, object], interval: float = 0.5) -> Any:
    connection_id = ok(http.post("/api/unified/connect", json=login))["connection_id"]
    body = {"session_id": connection_id, "remote_root": str(there), "interval": interval}
    return ok(http.post("/api/ssh/mirror/start", json=body))["task"]


def only(http: httpx.Client) -> Any:
    (task,) = ok(http.get("/api/ssh/mirror/list"))["mirrors"]
    return task


def is_level(http: httpx.Client) -> bool:
    task = only(http)
    return task["state"] == "watching" and task["waiting_files"] == 0 and task["stats"]["scans"] >= 2


def brought(root: Path) -> dict[str, bytes]:
    return {path: data for path, data in mirrored(root).items() if path.startswith(("vision", "artifacts", "runs"))}


@pytest.mark.slow(3)
def test_sixteen_mirrors_run_on_one_connection_and_no_more_begin(
    start: Callable[[], Server], sshd: Sshd, tmp_path: Path
) -> None:
    http = start().http
    for number in range(16):
        there = tmp_path / f"there{number}"
        write_run(there, f"vision/many/runs/r{number:02}", status="running")
        task = mirror(http, there, login(sshd), interval=2)
        assert task["state"] == "starting"
    seventeenth = {"session_id": task["session_id"], "remote_root": str(tmp_path), "interval": 2}
    assert failure(http.post("/api/ssh/mirror/start", json=seventeenth))[:2] == (409, "Too many mirror tasks")
    mode = {"mode": "mirror", "remote_root": str(tmp_path)}
    assert failure(http.post("/api/unified/configure_mode", json=mode))[:2] == (409, "Too many mirror tasks")

    def tasks() -> list[Any]:
        return ok(http.get("/api/ssh/mirror/list"))["mirrors"]

    # More channels than a connection has with OpenSSH's default of ten sessions.
    wait_until(lambda: {task["state"] for task in tasks()} == {"watching"}, f"{tasks()}", timeout_s=90)
    assert [task["last_error"] for task in tasks()] == [""] * 16
    assert len(brought(tmp_path / "here")) == 16 * 4
    again = {"session_id": task["session_id"], "remote_root": str(tmp_path / "there3"), "interval": 3}
    assert ok(http.post("/api/ssh/mirror/start", json=again))["task"]["id"] == tasks()[3]["id"]
    ok(http.post("/api/ssh/mirror/stop", json={"task_id": tasks()[3]["id"]}))
    ok(http.post("/api/ssh/mirror/start", json=again))
    assert ok(http.post("/api/unified/disconnect", json={"force": True}))["ok"] is True
    assert tasks() == []
    assert sshd.wait_idle()


@pytest.mark.slow
def test_a_server_killed_during_a_copy_costs_nothing_but_time_and_a_restart_transfers_nothing_again(
    start: Callable[[], Server], sshd: Sshd, tmp_path: Path
) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    write_run(there, status="running", hostname="elsewhere", pid=1)
    (there / RUN / "large.bin").write_bytes(random.randbytes(64 * MIB))
    server = start()
    with delaying(sshd.host, sshd.port, 0.0) as proxy:
        through = {**login(sshd), "port": proxy.port}
        mirror(server.http, there, through)
        wait_until(lambda: list((here / RUN).glob(".*.part")), "the copy to begin")
        sshd.kill()
        wait_until(lambda: only(server.http)["state"] == "reconnecting", timeout_s=40)
        lost = only(server.http)
        assert not lost["alive"]
        assert lost["last_error"] == lost["stats"]["last_error"] != ""
        assert lost["waiting_files"] >= 1
        assert not list(here.rglob("*.part"))
        sshd.start()
        wait_until(lambda: is_level(server.http), f"{only(server.http)}", timeout_s=90)
        assert only(server.http)["last_error"] == ""
        assert brought(here) == brought(there)
        assert server.stop() == 0

        before = proxy.counts()
        server = start()
        mirror(server.http, there, through)
        wait_until(lambda: is_level(server.http), f"{only(server.http)}", timeout_s=60)
        stats = only(server.http)["stats"]
        assert (stats["copied_files"], stats["copied_bytes"], stats["appended_bytes"]) == (0, 0, 0)
        assert proxy.counts().since(before).received < MIB
        run_id = RUN.rpartition("/")[2]
        ok(server.http.post("/api/status/check"))
        assert ok(server.http.get(f"/api/runs/{run_id}"))["status"] == "running"  # that process id is none of ours
        assert server.stop() == 0


def write_artifact(root: Path, content: str) -> Path:
    """An artifact `model/net` of one version."""
    version = root / "artifacts/model/net/v1"
    (version / "files").mkdir(parents=True)
    (version / "files" / "w.txt").write_text(content)
    (version / "metadata.json").write_text(json.dumps({"name": "net", "type": "model", "version": 1}))
    manifest = {"files": [{"path": "w.txt", "size": len(content)}]}
    (version / "manifest.json").write_text(json.dumps(manifest))
    index = {"versions": [{"version": 1, "size_bytes": len(content), "num_files": 1}], "aliases": {}}
    (root / "artifacts/model/net/versions.json").write_text(json.dumps(index))
    return version


def test_artifacts_of_the_same_name_and_local_files_are_kept_as_they_are(
    start: Callable[[], Server], sshd: Sshd, tmp_path: Path
) -> None:
    here, servers = tmp_path / "here", [tmp_path / "there0", tmp_path / "there1"]
    here.mkdir()
    mine = write_artifact(here, "mine")
    write_run(here, events=1)
    (here / "runicorn.db").write_text("an index of 0.4.0")
    for number, there in enumerate(servers):
        write_artifact(there, f"of server {number}")
        write_run(there, events=5 + number)
        (there / "runicorn.db").write_text("theirs")
        (there / "artifacts/model" / f"only{number}").mkdir()
        (there / "artifacts/model" / f"only{number}" / "versions.json").write_text('{"versions": []}')
    before = mirrored(here)
    http = start().http
    for there in servers:
        mirror(http, there, login(sshd))

    def tasks() -> list[Any]:
        return ok(http.get("/api/ssh/mirror/list"))["mirrors"]

    wait_until(lambda: all(task["stats"]["scans"] >= 2 and task["state"] == "watching" for task in tasks()))
    wait_until(lambda: all(task["waiting_files"] == 0 for task in tasks()))
    assert [task["conflicts"] for task in tasks()] == [2, 2]
    after = mirrored(here)
    assert {path: after[path] for path in before} == before
    assert (mine / "files" / "w.txt").read_text() == "mine"
    kept = {path.read_text() for path in here.glob(".mirrors/*/tree/artifacts/model/net/v1/files/w.txt")}
    assert kept == {"of server 0", "of server 1"}
    assert all((here / "artifacts/model" / f"only{number}" / "versions.json").exists() for number in range(2))
    ok(http.post("/api/unified/disconnect", json={"force": True}))
