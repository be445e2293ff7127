"""What the log says of other machines: logins, host keys, mirrors, syncs, writes; heard live, and never with a secret."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest

from tests.contract.test_remote import PASSWORD, by_password, login, ok
from tests.contract.test_remote_smart import synced, write_index, write_version
from tests.live_clients import SseClient
from tests.plugins.remote.mirroring import write_run
from tests.plugins.remote.paramiko_server import ParamikoServer
from tests.serving import Server, serve, wait_until
from tests.sshd import Sshd

__all__ = ["serve"]

Event = dict[str, Any]


@pytest.fixture
def server(serve: Callable[..., Server], tmp_path: Path) -> Server:
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    environment = {"HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config"), "SSH_AUTH_SOCK": ""}
    return serve(tmp_path / "root", "--rate-limit", "off", environment=environment)


@pytest.fixture
def live(server: Server) -> Iterator[SseClient]:
    client = SseClient(server, "type=remote.,host_key.,mirror.")
    assert client.next()["type"] == "hello"
    yield client
    client.close()


def recorded(root: Path) -> list[Event]:
    """What `runicorn events tail` shows of other machines."""
    command = [sys.executable, "-m", "runicorn", "events", "tail", "--storage", str(root), "-n", "1000", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    return [event for event in events if event["type"].startswith(("remote.", "host_key.", "mirror."))]


def brief(messages: list[Event]) -> list[tuple[str, Any]]:
    said = {"remote.connected": "method", "remote.refused": "code", "mirror.changed": "state"}
    return [(message["type"], message["data"].get(said.get(message["type"], "source"))) for message in messages]


def test_logins_are_told_with_what_came_of_them_and_no_secret(server: Server, live: SseClient, tmp_path: Path) -> None:
    http = server.http
    with ParamikoServer(password=PASSWORD) as other:
        source = f"me@127.0.0.1:{other.port}"
        key = other.host_key.fingerprint
        ok(http.post("/api/unified/connect", json=by_password(other)))
        assert http.post("/api/ssh/connect", json=by_password(other, password="wrong one")).status_code == 401
        ok(http.post("/api/ssh/connect", json=by_password(other)))
        other.host_key = paramiko.ECDSAKey.generate()
        assert http.post("/api/ssh/connect", json=by_password(other)).status_code == 400
    heard = live.until(lambda message: message["type"] == "remote.refused" and message["data"]["code"] != "auth_failed")
    assert brief(heard) == [
        ("host_key.trusted", source),
        ("remote.connected", "password"),
        ("remote.refused", "auth_failed"),
        ("remote.connected", "password"),
        ("host_key.mismatched", source),
        ("remote.refused", "host_key_mismatch"),
    ]
    assert heard[0]["data"] == {"source": source, "key_type": "ecdsa-sha2-nistp256", "sha256": key}
    assert heard[4]["data"]["expected"] == key
    assert heard[4]["data"]["sha256"] == other.host_key.fingerprint
    events = recorded(tmp_path / "root")
    assert [(event["type"], event["data"]) for event in events] == [
        (message["type"], message["data"]) for message in heard
    ]
    for secret in (PASSWORD, "wrong one"):
        assert secret not in json.dumps(events)
        assert secret not in server.log
    assert f"remote.refused RemoteRefused(source='{source}', code='auth_failed')" in server.log


@pytest.mark.slow(2)
def test_a_mirror_tells_when_it_begins_pauses_returns_and_ends(
    server: Server, live: SseClient, sshd: Sshd, tmp_path: Path
) -> None:
    there = tmp_path / "there"
    write_run(there)
    ok(server.http.post("/api/unified/connect", json=login(sshd)))
    mode = {"mode": "mirror", "remote_root": str(there), "mirror_interval": 0.5}
    task = ok(server.http.post("/api/unified/configure_mode", json=mode))["task"]
    heard = live.until(lambda message: message["data"].get("state") == "watching")
    sshd.kill()
    heard += live.until(lambda message: message["data"].get("state") == "reconnecting")
    sshd.start()
    heard += live.until(lambda message: message["data"].get("state") == "watching")
    assert ok(server.http.post("/api/ssh/mirror/stop", json={"task_id": task["id"]})) == {"ok": True}
    heard += live.until(lambda message: message["type"] == "mirror.stopped")
    mirror = [message for message in heard if message["type"].startswith("mirror.")]
    source = f"{sshd.username}@{sshd.host}:{sshd.port}"
    states = [said for kind, said in brief(mirror) if kind == "mirror.changed"]
    assert mirror[0]["data"] == {"source": source, "remote_root": str(there), "interval": 0.5}
    assert states[:3] == ["syncing", "watching", "reconnecting"]
    assert states[-1] == "watching"
    assert all(message["data"]["error"] for message in mirror if message["data"].get("state") == "reconnecting")
    assert mirror[-1]["data"]["files"] == 4
    private = sshd.private_key_path.read_text().splitlines()[1]
    assert private not in (tmp_path / "root/.runicorn/log/00000001.jsonl").read_text() + server.log


def test_syncs_that_bring_something_and_writes_on_the_server_are_told(
    server: Server, live: SseClient, sshd: Sshd, tmp_path: Path
) -> None:
    there = tmp_path / "there"
    run = write_run(there, status="running", hostname="elsewhere", pid=1)
    write_version(there, 1)
    write_index(there, 1)
    http = server.http
    ok(http.post("/api/remote/connect", json=login(sshd, remote_root=str(there), auto_sync=False)))
    synced(http)
    synced(http)
    (run / "status.json").write_text('{"status": "finished", "now": "longer than before"}')
    synced(http)
    ok(http.post("/api/remote/artifacts/net/v1/alias", json={"alias": "best"}))
    ok(http.post("/api/remote/artifacts/net/v1/tags", json={"tags": ["a", "b"]}))
    sshd.kill()
    wait_until(lambda: ok(http.get("/api/remote/status"))["connected"] is False)
    http.post("/api/remote/sync")
    heard = live.until(lambda message: message["data"].get("what") == "tags")
    syncs = [message["data"] for message in heard if message["type"] == "remote.synced"]
    assert syncs[0] | {"bytes": 0} == {
        "source": f"{sshd.username}@{sshd.host}:{sshd.port}",
        "remote_root": str(there),
        "status": "completed",
        "files": 5,
        "bytes": 0,
        "errors": 0,
    }
    assert syncs[-1]["files"] >= 1
    written = [message["data"] for message in heard if message["type"] == "remote.written"]
    assert [(data["what"], data["artifact"], data["values"]) for data in written] == [
        ("alias", "model/net:v1", ["best"]),
        ("tags", "model/net:v1", ["a", "b"]),
    ]
