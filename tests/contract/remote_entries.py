"""The three ways to connect over HTTP, and a server of ours that is asked to."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.serving import Server, wait_until
from tests.sshd import Sshd, find_program

PASSWORD = "tr0ub4dor-and-3"
UNIFIED, LEGACY, REMOTE = "/api/unified/connect", "/api/ssh/connect", "/api/remote/connect"
ENTRIES = (UNIFIED, LEGACY, REMOTE)
_OLDER_NAMES = {"private_key": "pkey", "private_key_path": "pkey_path"}


def body_for(entry: str, **fields: object) -> dict[str, object]:
    """What to send to an entry; fields have the names that the legacy one has for them."""
    body = {"host": "127.0.0.1", "username": "me", "use_agent": False, **fields}
    if entry == LEGACY:
        return {_OLDER_NAMES.get(name, name): value for name, value in body.items()}
    return {"remote_root": "~", "auto_sync": False, **body} if entry == REMOTE else body


def login_to(sshd: Sshd, **fields: object) -> dict[str, object]:
    """Fields of a login by key."""
    address = {"host": sshd.host, "port": sshd.port, "username": sshd.username, "use_agent": False}
    return {**address, "private_key_path": str(sshd.private_key_path), **fields}


def detail_for(entry: str, prefix: str, text: str) -> str:
    """How an entry says that a connection could not be made."""
    return ("SSH connect failed: " if entry == LEGACY else prefix) + text


def ok(response: httpx.Response) -> Any:
    assert response.status_code == 200, response.text
    return response.json()


def failure(response: httpx.Response) -> tuple[int, str, str | None]:
    return response.status_code, response.json()["detail"], response.json().get("code")


def leave(http: httpx.Client, entry: str) -> None:
    """End what an entry has connected, and nothing else."""
    if entry == LEGACY:
        for session in ok(http.get("/api/ssh/sessions"))["sessions"]:
            http.post("/api/ssh/close", json={"session_id": session["id"]})
    else:
        ok(http.post("/api/unified/disconnect" if entry == UNIFIED else "/api/remote/disconnect"))


def leave_all(http: httpx.Client) -> None:
    """End whatever is connected."""
    http.post("/api/remote/disconnect")
    http.post("/api/remote/mode/switch", json={"mode": "local"})
    http.post("/api/unified/disconnect", json={"force": True})
    for mirror in ok(http.get("/api/ssh/mirror/list"))["mirrors"]:
        http.post("/api/ssh/mirror/stop", json={"task_id": mirror["id"]})
    leave(http, LEGACY)


@contextmanager
def serving_at_home(home: Path, *arguments: str, **environment: str) -> Generator[Server]:
    """A server whose user has this home directory, and neither keys nor an agent."""
    (home / ".ssh").mkdir(parents=True, exist_ok=True)
    own = {"HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config"), "SSH_AUTH_SOCK": "", **environment}
    server = Server(home / "root", *(arguments or ("--rate-limit", "off")), environment=own)
    try:
        yield server
    except BaseException:
        server.stop(signal.SIGKILL)
        raise
    assert server.stop() == 0


@contextmanager
def agent_at(path: Path) -> Generator[None]:
    """An SSH agent without keys that listens at `path`."""
    agent = subprocess.Popen([find_program("ssh-agent"), "-D", "-a", str(path)], stdout=subprocess.DEVNULL)
    try:
        wait_until(path.exists)
        yield
    finally:
        agent.terminate()
        agent.wait()


def tell_agent(path: Path, *arguments: str) -> None:
    """`ssh-add`."""
    command = [find_program("ssh-add"), "-q", *arguments]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "SSH_AUTH_SOCK": str(path)})
