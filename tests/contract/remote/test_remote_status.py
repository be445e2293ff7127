"""What is said of connections and modes, in every combination, and how soon a loss is noticed."""

from __future__ import annotations

import time
from itertools import product
from typing import Any

import httpx
import pytest

from tests.contract.remote_entries import (
    LEGACY,
    PASSWORD,
    REMOTE,
    UNIFIED,
    body_for,
    failure,
    login_to,
    ok,
)
from tests.plugins.remote.paramiko_server import ParamikoServer
from tests.promises import FOUND_FROZEN_S, FOUND_KILLED_S, LISTING_TIMED_OUT_S
from tests.serving import Server, wait_until
from tests.sshd import Sshd

TASK = {"id", "session_id", "host", "remote_root", "local_root", "interval", "alive", "state", "last_error",
        "last_scan_at", "conflicts", "lag_s", "waiting_files", "waiting_bytes", "stats"}  # fmt: skip
STATS = ["copied_files", "appended_bytes", "scans", "started_at", "last_error", "copied_bytes", "failed_files"]
ALWAYS = ["connected", "connection_id", "modes", "connection", "smart_mode", "mirror_mode", "cached_experiments",
          "cached_artifacts"]  # fmt: skip
WHEN_THERE = ["host", "port", "username", "connected_at", "reference_count", "last_error"]
SMART = {"active", "remote_root", "auto_sync", "sync_interval_minutes", "last_sync_at", "next_sync_at"}
COMBINATIONS = [
    (current, smart, mirror)
    for current, smart, mirror in product(
        ("none", "alive", "lost"), ("off", "on it", "apart"), ("off", "on it", "apart")
    )
    if current != "none" or "on it" not in (smart, mirror)
]


def status_of(http: httpx.Client) -> Any:
    return ok(http.get("/api/unified/status"))


@pytest.mark.parametrize(("current", "smart", "mirror"), COMBINATIONS)
def test_status_has_its_full_shape_in_every_combination_of_modes(
    http: httpx.Client, machine: ParamikoServer, other: ParamikoServer, current: str, smart: str, mirror: str
) -> None:
    if current != "none":
        ok(http.post(UNIFIED, json=body_for(UNIFIED, port=machine.port, password=PASSWORD)))
    if smart == "on it":
        body = {"mode": "smart", "remote_root": "~/smart", "auto_sync": True, "sync_interval_minutes": 7}
        ok(http.post("/api/unified/configure_mode", json=body))
    if smart == "apart":
        ok(http.post(REMOTE, json=body_for(REMOTE, port=other.port, password=PASSWORD)))
    if mirror == "on it":
        body = {"mode": "mirror", "remote_root": "~/mirrored", "mirror_interval": 3.5}
        ok(http.post("/api/unified/configure_mode", json=body))
    if mirror == "apart":
        session = ok(http.post(LEGACY, json=body_for(LEGACY, port=other.port, password=PASSWORD)))["session_id"]
        ok(http.post("/api/ssh/mirror/start", json={"session_id": session, "remote_root": "~/apart"}))
    if smart == "on it":
        wait_until(lambda: status_of(http)["smart_mode"]["next_sync_at"] is not None, "the first sync")
    if current == "lost":
        machine.close()
        wait_until(lambda: not status_of(http)["connected"])

    status = status_of(http)
    assert list(status) == (ALWAYS if current == "none" else [*ALWAYS[:2], *WHEN_THERE, *ALWAYS[2:]])
    assert status["connected"] is status["connection"]["connected"] is (current == "alive")
    tasks = status["modes"]["mirror"]["tasks"]
    listed = ok(http.get("/api/ssh/mirror/list"))["mirrors"]
    assert [task["id"] for task in tasks] == [task["id"] for task in listed]
    assert [task["remote_root"].rpartition("/")[2] for task in tasks] == (
        [] if mirror == "off" else ["mirrored" if mirror == "on it" else "apart"]
    )
    for task in tasks + listed:
        assert (set(task), list(task["stats"])) == (TASK, STATS)
    assert status["modes"]["mirror"]["active"] is status["mirror_mode"]["active"] is (mirror == "on it")
    if mirror == "on it":
        described = {"active": True, "remote_root": "/home/me/mirrored", "mirror_interval": 3.5}
        assert status["mirror_mode"] == described
    else:
        assert status["mirror_mode"] == {"active": False}
    assert status["modes"]["smart"]["active"] is status["smart_mode"]["active"] is (smart == "on it")
    if smart == "on it":
        assert status["modes"]["smart"] == {"active": True, "remote_root": "/home/me/smart"}
        assert set(status["smart_mode"]) == SMART
        assert status["smart_mode"]["sync_interval_minutes"] == 7
        assert status["smart_mode"]["last_sync_at"] <= status["smart_mode"]["next_sync_at"]
    else:
        inactive = {"active": False} if current == "none" else {"active": False, "remote_root": None}
        assert status["smart_mode"] == status["modes"]["smart"] == inactive
    assert (status["cached_experiments"], status["cached_artifacts"]) == (0, 0)
    if current == "none":
        assert (status["connection_id"], status["connection"]) == (None, {"connected": False})
        return
    address = {"host": "127.0.0.1", "port": machine.port, "username": "me"}
    assert status["connection_id"] == f"me@127.0.0.1:{machine.port}"
    assert {name: status[name] for name in address} == address
    uptime = status["connection"].pop("uptime_seconds")
    assert (type(uptime), status["connection"]) == (int, {"connected": current == "alive", **address})
    assert status["reference_count"] == (smart == "on it") + (mirror == "on it")
    if current == "alive":
        assert status["last_error"] is None
    else:
        assert status["last_error"].strip()
        assert "\n" not in status["last_error"]


def test_cut_connections_are_noticed_everywhere_within_two_seconds(http: httpx.Client, sshd: Sshd) -> None:
    ok(http.post(UNIFIED, json=login_to(sshd)))
    ok(http.post(LEGACY, json=body_for(LEGACY, **login_to(sshd))))
    ok(http.post(REMOTE, json=body_for(REMOTE, **login_to(sshd))))
    sshd.kill()
    killed = time.monotonic()

    def states() -> list[bool]:
        (session,) = ok(http.get("/api/ssh/sessions"))["sessions"]
        remote = ok(http.get("/api/remote/status"))
        return [status_of(http)["connected"], session["connected"], remote["connected"], remote["stats"]["connected"]]

    wait_until(lambda: not any(states()))
    assert time.monotonic() - killed < FOUND_KILLED_S
    assert status_of(http)["last_error"]
    answer = http.get("/api/unified/listdir")
    assert failure(answer) == (400, "No active SSH connection. Please connect first.", "not_connected")
    session = ok(http.get("/api/ssh/sessions"))["sessions"][0]["id"]
    answer = http.get("/api/ssh/listdir", params={"session_id": session})
    assert failure(answer) == (400, "session not connected", "not_connected")
    body = {"mode": "mirror", "remote_root": "~"}
    assert failure(http.post("/api/unified/configure_mode", json=body))[:2] == (400, "No active SSH connection")
    assert ok(http.post("/api/ssh/close", json={"session_id": session})) == {"ok": True}


@pytest.mark.slow(25)
def test_a_frozen_server_is_noticed_in_time(server: Server, http: httpx.Client, sshd: Sshd) -> None:
    ok(http.post(UNIFIED, json=login_to(sshd)))
    ok(http.get("/api/unified/listdir"))
    sshd.freeze()
    frozen = time.monotonic()
    try:
        with httpx.Client(base_url=server.url, timeout=2 * LISTING_TIMED_OUT_S) as patient:
            answer = patient.get("/api/unified/listdir")
        assert failure(answer) == (408, "Remote operation timed out", "timeout")
        assert time.monotonic() - frozen < LISTING_TIMED_OUT_S
        wait_until(lambda: not status_of(http)["connected"], timeout_s=2 * FOUND_FROZEN_S)
        assert time.monotonic() - frozen < FOUND_FROZEN_S
        assert status_of(http)["last_error"]
    finally:
        sshd.thaw()
