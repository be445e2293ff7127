"""A password, a key and a passphrase that are used in every call about other machines are found nowhere again."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_ssh_private_key,
)

from tests.contract.remote_entries import ENTRIES, LEGACY, REMOTE, UNIFIED, body_for, ok, serving_at_home
from tests.plugins.remote.locked_files import LockedFiles
from tests.plugins.remote.mirroring import write_run
from tests.plugins.remote.paramiko_server import ParamikoServer
from tests.serving import wait_until
from tests.sshd import Sshd

PASSWORD, PASSPHRASE = "hunter2-q8ZbV-grün", "correct horse ü battery-7Qx"
SAVED = "/api/config/ssh_connections"
CALLS = """
    POST unified/connect; POST unified/disconnect; GET unified/status; GET unified/listdir; POST unified/configure_mode
    POST unified/deactivate_mode; POST ssh/connect; GET ssh/sessions; POST ssh/close; GET ssh/listdir
    POST ssh/mirror/start; POST ssh/mirror/stop; GET ssh/mirror/list; POST remote/connect; GET remote/status
    POST remote/sync; POST remote/download/net/v1; GET remote/download/x/status; DELETE remote/download/x
    GET remote/downloads; POST remote/cache/clear; POST remote/cache/cleanup; POST remote/mode/switch; GET remote/mode
    POST remote/artifacts/net/v1/alias; POST remote/artifacts/net/v1/tags; GET remote/verify; POST remote/disconnect
"""


class Recorder(httpx.Client):
    """Keeps all that the server says."""

    def __init__(self, url: str) -> None:
        self.said: list[str] = []
        super().__init__(base_url=url, timeout=60, event_hooks={"response": [self._record]})

    def _record(self, response: httpx.Response) -> None:
        response.read()
        self.said.append(f"{response.headers} {response.text}")


def forms_of(key: str) -> set[bytes]:
    """How the secrets could be written: as they are, escaped, encoded, and the key also without its encryption."""
    lines = [line for line in key.splitlines() if line and not line.startswith("-----")]
    loaded = load_ssh_private_key(key.encode(), PASSPHRASE.encode())
    assert isinstance(loaded, Ed25519PrivateKey)
    seed = loaded.private_bytes_raw()
    plain = loaded.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode().splitlines()
    texts = [PASSWORD, PASSPHRASE, *lines[1:], seed.hex(), *plain[3:-2]]  # the first lines are those of any key
    found = {seed, base64.b64encode(seed)}
    for text in texts:
        found |= {text.encode(), json.dumps(text)[1:-1].encode(), repr(text)[1:-1].encode(), ascii(text)[1:-1].encode()}
        found |= {base64.b64encode(text.encode()), repr(text.encode())[2:-1].encode()}
    return found


def files_below(*directories: Path) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes()
        for directory in directories
        for path in directory.rglob("*")
        if path.is_file() and not path.is_socket()
    }


@pytest.mark.slow(20)
def test_secrets_of_a_whole_run_are_found_nowhere(sshd: Sshd, tmp_path: Path) -> None:
    key = sshd.new_client_key("ed25519", passphrase=PASSPHRASE).read_text()
    secrets = {"password": PASSWORD, "private_key": key, "passphrase": PASSPHRASE}
    root = tmp_path / "there/data"
    write_run(root, status="running", hostname="elsewhere", pid=1)
    version = root / "artifacts/model/net/v1"
    version.mkdir(parents=True)
    (version / "metadata.json").write_text('{"name": "net", "type": "model", "version": 1, "size_bytes": 1}')
    entry = {"path": "w.bin", "size": 1, "digest": "sha256:" + "0" * 64}
    (version / "manifest.json").write_text(json.dumps({"files": [entry]}))
    (version.parent / "versions.json").write_text(
        '{"artifact_name": "net", "versions": [{"version": 1}], "aliases": {}}'
    )
    home = tmp_path / "home"
    seen: dict[str, bytes] = {}
    with serving_at_home(home, "--rate-limit", "off", "--log-level", "debug") as server:
        http = Recorder(server.url)
        _use(http, sshd, root, secrets)
        seen |= {f"while it runs: {path}": data for path, data in files_below(home).items()}
        _misuse(http, sshd, secrets)
        for page in ("/openapi.json", "/docs", "/api/health", SAVED, "/api/config"):
            http.get(page)
        seen |= {f"at the end: {path}": data for path, data in files_below(home).items()}
        http.close()
    assert any(path.endswith("-wal") for path in seen)
    seen |= files_below(home)
    seen["the log of the server"] = server.log.encode()
    seen |= {f"answer {number}": said.encode() for number, said in enumerate(http.said)}
    assert len(http.said) > 100
    for form in forms_of(key):
        for where, data in seen.items():
            assert form not in data, where
    assert b"gAAAA" in seen[str(home / ".config/runicorn/config.json")]  # they are kept, encrypted
    config = home / ".config/runicorn"
    private = [path for path in config.rglob("*") if path.is_file() and path.suffix != ".lock"]  # locks are empty
    assert {path.name for path in private} >= {"config.json", "credentials.key", "known_hosts"}
    for path in private:
        assert path.stat().st_mode & 0o777 == 0o600, path
    for path in home.rglob("source.json"):
        assert set(json.loads(path.read_text())) == {
            *("host", "port", "username", "remote_root", "created_at", "last_sync"),
        }


def _use(http: Recorder, sshd: Sshd, root: Path, secrets: dict[str, str]) -> None:
    """All that can be done with another machine, and what can go wrong meanwhile."""
    address = {"host": sshd.host, "port": sshd.port, "username": sshd.username}
    login = {**address, **secrets, "remote_root": str(root)}
    for entry in ENTRIES:
        ok(http.post(entry, json=body_for(entry, **login)))
        assert http.post(
            entry, json=body_for(entry, **{**login, "passphrase": PASSPHRASE[:-1], "password": None})
        ).is_error
    saved = ok(http.post(SAVED, json={**address, **secrets, "remember_password": True}))["key"]
    details = ok(http.get(f"{SAVED}/{saved}/details"))["connection"]
    for entry in ENTRIES:
        ok(http.post(entry, json=body_for(entry, **{"remote_root": str(root), "saved_key": saved, **address})))
        ok(http.post(entry, json=body_for(entry, **{**details, "remote_root": str(root)})))
    ok(http.get("/api/unified/listdir"))
    for mode in ("smart", "mirror"):
        body = {"mode": mode, "remote_root": str(root), "mirror_interval": 0.5, **secrets}
        ok(http.post("/api/unified/configure_mode", json=body))
    wait_until(lambda: ok(http.get("/api/remote/status"))["stats"]["cached_artifacts"] == 1)
    wait_until(lambda: ok(http.get("/api/ssh/mirror/list"))["mirrors"][0]["state"] == "watching")
    task = ok(http.post("/api/remote/download/net/v1", json=secrets))["task_id"]
    wait_until(lambda: ok(http.get(f"/api/remote/download/{task}/status"))["status"] == "failed")
    ok(http.post("/api/remote/artifacts/net/v1/alias", json={"alias": "best", **secrets}))
    ok(http.post("/api/remote/artifacts/net/v1/tags", json={"tags": ["a"], **secrets}))
    ok(http.get("/api/remote/verify"))
    sshd.restart()  # every reconnect logs in again
    wait_until(lambda: ok(http.get("/api/unified/status"))["connected"], timeout_s=40)
    sshd.change_host_key()
    wait_until(lambda: "does not match" in (ok(http.get("/api/unified/status"))["last_error"] or ""), timeout_s=40)
    with ParamikoServer(password=PASSWORD, files=LockedFiles) as other:
        where = {"port": other.port, "password": PASSWORD}
        for entry in ENTRIES:
            ok(http.post(entry, json=body_for(entry, **where)))
            assert http.post(entry, json=body_for(entry, **where | {"password": PASSWORD + "?"})).status_code == 401


def _misuse(http: Recorder, sshd: Sshd, secrets: dict[str, str]) -> None:
    """Every call with the secrets where they do not belong: in its body, as other values, in its query."""
    address: dict[str, Any] = {"host": sshd.host, "port": 1, "username": sshd.username, "use_agent": False}
    names = ("mode", "session_id", "remote_root", "interval", "task_id", "alias", "path", "pkey", "saved_key", "host")
    for call in re.split(r"[;\n]", CALLS.strip()):
        method, path = call.split()
        body = {**address, **secrets, "pkey": secrets["private_key"], "remote_root": "/nowhere"}
        bodies: list[Any] = [body, {**body, **{name: [PASSWORD] for name in secrets}}, [secrets]]
        bodies += [{**body, "port": PASSWORD, "tags": 5}, {**body, "auto_sync": PASSWORD, "force": PASSWORD}]
        for wanted in bodies if method == "POST" else [None]:
            answer = http.request(method, f"/api/{path}", json=wanted)
            assert answer.status_code != 500, (call, answer.text)
        http.request(
            method, f"/api/{path}", content=json.dumps(secrets)[:-1], headers={"content-type": "application/json"}
        )
        http.request(method, f"/api/{path}", params={"token": "x"}, headers={"cookie": "x"})
    for entry in (UNIFIED, LEGACY, REMOTE):
        for name in names:
            http.post(entry, json={**address, **secrets, name: [secrets]})
