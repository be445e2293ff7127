"""Connecting by each of the three entries: what logs in, and what is left behind and kept."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

import httpx
import pytest

from tests.contract.remote_entries import (
    ENTRIES,
    LEGACY,
    PASSWORD,
    REMOTE,
    UNIFIED,
    body_for,
    failure,
    leave,
    leave_all,
    login_to,
    ok,
    tell_agent,
)
from tests.plugins.remote.locked_files import LockedFiles
from tests.plugins.remote.mirroring import RUN, write_run
from tests.plugins.remote.paramiko_server import ParamikoServer
from tests.serving import Server, wait_until
from tests.ssh_server import sshd_or_skip
from tests.sshd import Sshd, find_program

PASSPHRASE = "open sesame ü"
SAVED = "/api/config/ssh_connections"
SSH = "SSH connection failed: "


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd_or_skip(home=tmp_path_factory.mktemp("remote-home")) as server:
        yield server


@pytest.fixture(scope="module")
def keys(sshd: Sshd) -> dict[str, Path]:
    """A client key of every kind that the server takes."""
    found = {kind: sshd.new_client_key(kind) for kind in ("rsa", "ed25519", "ecdsa")}
    found["encrypted"] = sshd.new_client_key("ed25519", passphrase=PASSPHRASE)
    for name, passphrase in (("pkcs8", ""), ("encrypted pkcs8", PASSPHRASE)):
        path = found[name] = sshd.new_client_key("ecdsa")
        command = ["-q", "-p", "-m", "PKCS8", "-P", "", "-N", passphrase, "-f", str(path)]
        subprocess.run([find_program("ssh-keygen"), *command], check=True, capture_output=True)
    return found


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("kind", ["rsa", "ed25519", "ecdsa", "encrypted", "pkcs8", "encrypted pkcs8"])
def test_a_key_of_every_kind_logs_in(
    http: httpx.Client, sshd: Sshd, keys: dict[str, Path], entry: str, kind: str
) -> None:
    passphrase = PASSPHRASE if kind.startswith("encrypted") else None
    where = {**login_to(sshd), "private_key_path": None}
    by_text = body_for(entry, **where | {"private_key": keys[kind].read_text(), "passphrase": passphrase})
    key = ok(http.post(entry, json=by_text))["host_key"]
    assert (key["type"], key["sha256"]) == (sshd.host_key_type, sshd.host_key_fingerprint)
    leave(http, entry)
    ok(
        http.post(
            entry, json=body_for(entry, **where | {"private_key_path": str(keys[kind]), "passphrase": passphrase})
        )
    )
    leave(http, entry)
    assert sshd.wait_idle()


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_key_of_the_agent_logs_in(http: httpx.Client, sshd: Sshd, agent: Path, entry: str) -> None:
    wanted = body_for(entry, **login_to(sshd, private_key_path=None, use_agent=True))
    assert http.post(entry, json=wanted).json()["code"] == "no_auth_method"
    tell_agent(agent, str(sshd.private_key_path))
    try:
        ok(http.post(entry, json=wanted))
    finally:
        tell_agent(agent, "-D")


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("methods", ["password", "keyboard-interactive"])
@pytest.mark.parametrize("key", [{}, {"private_key": "nonsense"}, {"private_key_path": "/nowhere"}])
def test_a_password_logs_in_also_beside_a_key_that_cannot_be_used(
    http: httpx.Client, entry: str, methods: str, key: dict[str, str]
) -> None:
    with ParamikoServer(password=PASSWORD, methods=methods, files=LockedFiles) as machine:
        ok(http.post(entry, json=body_for(entry, port=str(machine.port), password=PASSWORD, **key)))
        wait_until(lambda: machine.open_sessions() == 1)
        leave_all(http)


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_saved_connection_logs_in_and_is_good_for_its_host_alone(
    http: httpx.Client, other: ParamikoServer, entry: str
) -> None:
    where = {"host": "127.0.0.1", "port": other.port, "username": "me"}
    saved = ok(http.post(SAVED, json={**where, "remember_password": True, "password": PASSWORD}))["key"]
    body = {"saved_key": saved, "use_agent": False, "remote_root": "~", "auto_sync": False}
    if entry != REMOTE:
        body = {name: body[name] for name in ("saved_key", "use_agent")}
    answer = ok(http.post(entry, json=body))
    if entry != LEGACY:
        assert (answer["host"], answer["port"], answer["username"]) == ("127.0.0.1", other.port, "me")
    ok(http.post(entry, json={**body, **where}))
    before = len(other.transports)
    for change in ({"host": "localhost"}, {"port": other.port + 1}, {"username": "you"}):
        refused = failure(http.post(entry, json={**body, **change}))
        assert refused == (400, "saved_key belongs to another host", None)
    ok(http.request("DELETE", f"{SAVED}/{saved}"))
    assert len(other.transports) == before


@pytest.mark.parametrize("entry", ENTRIES)
def test_what_0_4_0_has_hidden_logs_in_and_is_encrypted_from_then_on(
    http: httpx.Client, home: Path, other: ParamikoServer, entry: str
) -> None:
    config, key = home / ".config/runicorn", os.urandom(32)
    config.mkdir(parents=True, exist_ok=True)
    (config / ".credential_key").write_bytes(key)
    hidden = base64.b64encode(bytes(a ^ b for a, b in zip(PASSWORD.encode(), cycle(key), strict=False))).decode()
    common = {"port": other.port, "username": "me", "remember_password": True}
    entries = [
        {**common, "host": "127.0.0.1", "key": f"127.0.0.1:{other.port}@me", "password": f"ENC:{hidden}"},
        {**common, "host": "elsewhere", "key": f"elsewhere:{other.port}@me", "password": "in the open"},
    ]
    (config / "config.json").write_text(json.dumps({"ssh_connections": entries}))
    body = {"saved_key": f"127.0.0.1:{other.port}@me", "use_agent": False}
    ok(http.post(entry, json={**body, "remote_root": "~", "auto_sync": False} if entry == REMOTE else body))
    text = (config / "config.json").read_text()
    assert "ENC:" not in text
    assert "in the open" not in text
    assert [bool(item["has_password"]) for item in ok(http.get(SAVED))["connections"]] == [True, True]
    assert (config / "config.json").stat().st_mode & 0o777 == 0o600
    (config / "config.json").unlink()


def test_twenty_failed_logins_leave_nothing_and_then_a_good_one_works(
    server: Server, http: httpx.Client, other: ParamikoServer
) -> None:
    process = Path("/proc", str(server.process.pid))

    def counts() -> tuple[int, int]:
        return len(os.listdir(process / "fd")), len(os.listdir(process / "task"))

    def try_all(count: int) -> None:
        for entry in islice(cycle(ENTRIES), count):
            answer = http.post(entry, json=body_for(entry, port=other.port, password="wrong"))
            assert answer.status_code == 401
        wait_until(lambda: other.open_sessions() == 0)

    try_all(6)  # threads and caches that stay are there
    before = counts()
    try_all(20)
    wait_until(lambda: counts() <= before and counts()[1] <= before[1], f"{before}")
    for entry in ENTRIES:
        ok(http.post(entry, json=body_for(entry, port=other.port, password=PASSWORD)))
    # The unified connection is that of the remote entry, too.
    wait_until(lambda: other.open_sessions() == 2, "the end of what only tried the password")


@pytest.mark.parametrize("entry", [UNIFIED, REMOTE])
def test_a_wrong_password_beside_a_connection_leaves_it_and_the_right_one_reuses_it(
    http: httpx.Client, other: ParamikoServer, entry: str
) -> None:
    ok(http.post(UNIFIED, json=body_for(UNIFIED, port=other.port, password=PASSWORD)))
    assert ok(http.get("/api/unified/listdir"))["items"] == []
    refused = http.post(entry, json=body_for(entry, port=other.port, password="wrong"))
    assert failure(refused)[::2] == (401, "auth_failed")
    assert ok(http.get("/api/unified/listdir"))["items"] == []
    again = ok(http.post(entry, json=body_for(entry, port=other.port, password=PASSWORD)))
    assert again.get("reused", True) is True
    wait_until(lambda: other.open_sessions() == 1)
    assert ok(http.get("/api/unified/listdir"))["items"] == []


def test_another_connection_ends_the_former_one_but_not_its_mirror(
    server: Server, http: httpx.Client, sshd: Sshd, other: ParamikoServer, tmp_path: Path
) -> None:
    ok(http.post(UNIFIED, json=body_for(UNIFIED, port=other.port, password=PASSWORD)))
    ok(http.post(UNIFIED, json=login_to(sshd)))
    wait_until(lambda: other.open_sessions() == 0, "the end of the first connection")

    there = tmp_path / "there"
    write_run(there, status="running", hostname="elsewhere", pid=1)
    mode = {"mode": "mirror", "remote_root": str(there), "mirror_interval": 0.5}
    ok(http.post("/api/unified/configure_mode", json=mode))
    copy = server.root / RUN / "events.jsonl"
    wait_until(copy.exists)
    assert ok(http.post("/api/unified/disconnect")) == {
        "ok": False,
        "message": "Connection is in use by active modes",
        "smart_active": False,
        "mirror_active": True,
    }
    ok(http.post(UNIFIED, json=body_for(UNIFIED, port=other.port, password=PASSWORD)))
    with (there / RUN / "events.jsonl").open("a") as events:
        events.write('{"ts": 1736868650.0, "type": "metrics", "data": {"loss": 0.1, "global_step": 9}}\n')
    wait_until(lambda: copy.read_bytes() == (there / RUN / "events.jsonl").read_bytes(), "the line behind the switch")
    assert ok(http.post("/api/unified/disconnect"))["ok"] is True  # nothing holds this one
    wait_until(lambda: other.open_sessions() == 0)
    assert len(sshd.sessions()) > 0

    ok(http.post(UNIFIED, json=login_to(sshd)))
    assert ok(http.post("/api/unified/disconnect", json={"force": True}))["ok"] is True
    assert sshd.wait_idle()
    assert ok(http.get("/api/ssh/mirror/list"))["mirrors"] == []
