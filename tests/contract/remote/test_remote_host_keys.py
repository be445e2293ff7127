"""Whom the three entries and reconnects trust; servers that record show that nobody else is sent a credential."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import paramiko
import pytest

from tests.contract.remote_entries import (
    ENTRIES,
    PASSWORD,
    REMOTE,
    UNIFIED,
    body_for,
    detail_for,
    failure,
    leave,
    ok,
    serving_at_home,
)
from tests.plugins.remote.paramiko_server import ParamikoServer
from tests.serving import wait_until

SSH = "SSH connection failed: "
NewKey = Callable[[], paramiko.PKey]


def an_rsa_key() -> paramiko.PKey:
    return paramiko.RSAKey.generate(2048)


CHANGES: list[NewKey] = [paramiko.ECDSAKey.generate, an_rsa_key]
"""Another key of the type that `machine` has, and a key of another type."""


@pytest.fixture
def known_hosts(home: Path) -> Path:
    """Our own file; there is none at the beginning of a test."""
    path = home / ".config/runicorn/known_hosts"
    path.unlink(missing_ok=True)
    return path


def connect(http: httpx.Client, entry: str, machine: ParamikoServer, **fields: object) -> httpx.Response:
    return http.post(entry, json=body_for(entry, **{"port": machine.port, "password": PASSWORD, **fields}))


def shown(key: paramiko.PKey) -> dict[str, str]:
    return {"type": key.get_name(), "sha256": key.fingerprint}


def change_key(machine: ParamikoServer, make: NewKey) -> paramiko.PKey:
    """The machine has another key from now on, and its records are empty; the former key."""
    before, machine.host_key = machine.host_key, make()
    machine.accounts.attempts.clear()
    return before


def mismatch(machine: ParamikoServer, before: paramiko.PKey) -> str:
    return (
        f"Host key for server '127.0.0.1' does not match: "
        f"got {machine.host_key.fingerprint}, expected {before.fingerprint}"
    )


@pytest.mark.parametrize("entry", ENTRIES)
def test_the_first_use_is_stored_before_the_login_and_told_once(
    http: httpx.Client, known_hosts: Path, machine: ParamikoServer, entry: str
) -> None:
    refused = connect(http, entry, machine, password="wrong")
    assert refused.json()["host_key"] == {**shown(machine.host_key), "first_use": True}
    key = machine.host_key
    assert known_hosts.read_text() == f"[127.0.0.1]:{machine.port} {key.get_name()} {key.get_base64()}\n"
    assert known_hosts.stat().st_mode & 0o777 == 0o600
    assert connect(http, entry, machine, password="wrong").json()["host_key"]["first_use"] is False
    assert ok(connect(http, entry, machine))["host_key"] == {**shown(key), "first_use": False}


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("make", CHANGES)
def test_another_key_is_refused_with_both_fingerprints_and_sees_no_login(
    http: httpx.Client, known_hosts: Path, machine: ParamikoServer, entry: str, make: NewKey
) -> None:
    assert ok(connect(http, entry, machine))["host_key"]["first_use"] is True
    leave(http, entry)
    stored = known_hosts.read_bytes()
    before = change_key(machine, make)
    answer = connect(http, entry, machine)
    expected = (400, detail_for(entry, SSH, mismatch(machine, before)), "host_key_mismatch")
    assert failure(answer) == expected
    assert answer.json()["host_key"] == shown(machine.host_key)
    assert answer.json()["expected_host_key"] == shown(before)
    assert machine.accounts.attempts == []
    assert known_hosts.read_bytes() == stored


@pytest.mark.parametrize("make", CHANGES)
def test_a_live_connection_does_not_vouch_for_another_key(
    http: httpx.Client, known_hosts: Path, machine: ParamikoServer, make: NewKey
) -> None:
    ok(connect(http, UNIFIED, machine))
    change_key(machine, make)
    for entry in ENTRIES:
        assert connect(http, entry, machine).json()["code"] == "host_key_mismatch"
    assert machine.accounts.attempts == []
    assert ok(http.get("/api/unified/listdir"))["items"] == []


@pytest.mark.parametrize("make", CHANGES)
def test_reconnects_of_a_mirror_and_of_smart_mode_end_at_another_key(
    http: httpx.Client, known_hosts: Path, machine: ParamikoServer, make: NewKey
) -> None:
    ok(connect(http, UNIFIED, machine))
    ok(http.post("/api/unified/configure_mode", json={"mode": "mirror", "remote_root": "~/a"}))
    ok(http.post("/api/unified/configure_mode", json={"mode": "smart", "remote_root": "~/b", "auto_sync": False}))

    def task() -> Any:
        (found,) = ok(http.get("/api/ssh/mirror/list"))["mirrors"]
        return found

    wait_until(lambda: task()["state"] == "watching")
    stored = known_hosts.read_bytes()
    before = change_key(machine, make)
    for transport in machine.transports:
        transport.close()
    wait_until(lambda: task()["state"] == "error", "the end of the mirror", timeout_s=40)
    text = SSH + mismatch(machine, before)
    assert (task()["last_error"], task()["alive"]) == (text, False)
    wait_until(lambda: ok(http.get("/api/unified/status"))["last_error"] == text)
    assert ok(http.get("/api/remote/status"))["status"] == "error"
    assert machine.accounts.attempts == []
    assert known_hosts.read_bytes() == stored


@pytest.mark.parametrize("entry", ENTRIES)
def test_strict_checking_is_a_setting_that_a_request_can_tighten_and_not_relax(
    http: httpx.Client, home: Path, known_hosts: Path, machine: ParamikoServer, entry: str
) -> None:
    text = f"Host key for server '127.0.0.1' is not known: {machine.host_key.fingerprint}"
    expected = (400, detail_for(entry, SSH, text), "host_key_unknown")
    answer = connect(http, entry, machine, strict_host_key=True)
    assert failure(answer) == expected
    assert answer.json()["host_key"] == shown(machine.host_key)
    config = home / ".config/runicorn/config.json"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(json.dumps({"ssh_strict_host_keys": True}))
    try:
        for relaxed in ({}, {"strict_host_key": False}):
            assert failure(connect(http, entry, machine, **relaxed)) == expected
        assert not known_hosts.exists()
        assert machine.accounts.attempts == []
        ok(connect(http, entry, machine, accept_host_key=machine.host_key.fingerprint))
        leave(http, entry)
        assert ok(connect(http, entry, machine))["host_key"]["first_use"] is False
    finally:
        config.unlink()


def test_strict_checking_can_be_set_in_the_environment(tmp_path: Path, machine: ParamikoServer) -> None:
    with serving_at_home(tmp_path, RUNICORN_SSH_STRICT="1") as server:
        for entry in ENTRIES:
            assert connect(server.http, entry, machine, strict_host_key=False).json()["code"] == "host_key_unknown"
    assert machine.accounts.attempts == []


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("make", CHANGES)
def test_exactly_the_accepted_key_is_admitted_and_the_other_lines_stay(
    http: httpx.Client, known_hosts: Path, machine: ParamikoServer, entry: str, make: NewKey
) -> None:
    ok(connect(http, entry, machine))
    leave(http, entry)
    ours, elsewhere = known_hosts.read_text(), paramiko.ECDSAKey.generate()
    above, below = (
        "# mine\n\nelsewhere ssh-rsa no-key\n",
        f"elsewhere {elsewhere.get_name()} {elsewhere.get_base64()} me\n",
    )
    known_hosts.write_text(above + ours + below)
    before = change_key(machine, make)
    wrong = connect(http, entry, machine, accept_host_key=before.fingerprint)
    assert wrong.json()["code"] == "host_key_mismatch"
    assert (machine.accounts.attempts, known_hosts.read_text()) == ([], above + ours + below)
    accepted = connect(http, entry, machine, accept_host_key=machine.host_key.fingerprint)
    assert ok(accepted)["host_key"] == {**shown(machine.host_key), "first_use": True}
    leave(http, entry)
    key = machine.host_key
    line = f"[127.0.0.1]:{machine.port} {key.get_name()} {key.get_base64()}\n"
    assert known_hosts.read_text() == above + below + line
    assert known_hosts.stat().st_mode & 0o777 == 0o600
    assert ok(connect(http, entry, machine))["host_key"]["first_use"] is False


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("marker", ["", "@revoked "])
def test_what_ssh_itself_knows_counts_and_is_not_overruled(
    http: httpx.Client, home: Path, known_hosts: Path, machine: ParamikoServer, entry: str, marker: str
) -> None:
    key = machine.host_key if marker else paramiko.ECDSAKey.generate()
    theirs = home / ".ssh/known_hosts"
    theirs.write_text(f"{marker}[127.0.0.1]:{machine.port} {key.get_name()} {key.get_base64()}\n")
    try:
        for accepted in (None, machine.host_key.fingerprint):
            answer = connect(http, entry, machine, accept_host_key=accepted)
            assert failure(answer)[::2] == (400, "host_key_mismatch")
    finally:
        theirs.unlink()
    assert machine.accounts.attempts == []
    assert not known_hosts.exists()


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("content", ["garbage\n", "\x00\x01", '{"hosts": []}\n'])
def test_a_file_of_garbage_is_no_fresh_start_of_trust(
    http: httpx.Client, known_hosts: Path, machine: ParamikoServer, entry: str, content: str
) -> None:
    known_hosts.parent.mkdir(parents=True, exist_ok=True)
    known_hosts.write_text(content)
    for accepted in (None, machine.host_key.fingerprint):
        answer = connect(http, entry, machine, accept_host_key=accepted)
        text = detail_for(entry, SSH, "Known hosts file is not usable")
        assert failure(answer) == (503, text, "known_hosts_error")
    assert (machine.accounts.attempts, known_hosts.read_text()) == ([], content)


def test_a_connection_that_fails_makes_no_cache(
    http: httpx.Client, home: Path, known_hosts: Path, machine: ParamikoServer
) -> None:
    caches = home / ".runicorn_remote_cache"
    before = sorted(caches.glob("*"))
    for fields in ({"password": "wrong"}, {"strict_host_key": True, "username": "you"}, {"remote_root": "~/locked"}):
        known_hosts.unlink(missing_ok=True)
        assert connect(http, REMOTE, machine, **fields).status_code in (400, 401, 403)
    assert sorted(caches.glob("*")) == before
    wait_until(lambda: machine.open_sessions() == 0)
    assert ok(http.get("/api/remote/status"))["mode"] == "local"
