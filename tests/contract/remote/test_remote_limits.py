"""How many sessions, mirrors and attempts there are at a time, and how often each call may be made."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from tests.contract.remote_entries import (
    ENTRIES,
    LEGACY,
    PASSWORD,
    UNIFIED,
    body_for,
    failure,
    ok,
    serving_at_home,
)
from tests.plugins.remote.paramiko_server import ParamikoServer
from tests.serving import Server

SSH = "SSH connection failed: "


def test_there_are_sixteen_sessions_at_most_also_when_several_ask_for_the_last(
    http: httpx.Client, other: ParamikoServer
) -> None:
    def connect(number: int) -> httpx.Response:
        entry = ENTRIES[number % 3]
        return http.post(entry, json=body_for(entry, port=other.port, username=f"u{number}", password=PASSWORD))

    for _ in range(15):
        ok(http.post(LEGACY, json=body_for(LEGACY, port=other.port, password=PASSWORD)))
    with ThreadPoolExecutor(3) as threads:
        answers = list(threads.map(connect, (1, 4, 7)))
    refused = [failure(answer)[:2] for answer in answers if answer.status_code != 200]
    assert refused == [(409, "Too many sessions")] * 2
    for number in range(3):
        assert failure(connect(number + 9))[:2] == (409, "Too many sessions")
    assert other.open_sessions() == 16
    sessions = ok(http.get("/api/ssh/sessions"))["sessions"]
    assert ok(http.post("/api/ssh/close", json={"session_id": sessions[0]["id"]})) == {"ok": True}
    ok(connect(0))


def test_there_are_sixteen_mirrors_at_most(http: httpx.Client, other: ParamikoServer) -> None:
    connection_id = ok(http.post(UNIFIED, json=body_for(UNIFIED, port=other.port, password=PASSWORD)))["connection_id"]

    def start(number: int) -> httpx.Response:
        body = {"session_id": connection_id, "remote_root": f"~/root{number}", "interval": 3600}
        return http.post("/api/ssh/mirror/start", json=body)

    tasks = [ok(start(number))["task"]["id"] for number in range(16)]
    assert len(set(tasks)) == 16
    assert failure(start(16))[:2] == (409, "Too many mirror tasks")
    mode = {"mode": "mirror", "remote_root": "~/root16"}
    assert failure(http.post("/api/unified/configure_mode", json=mode))[:2] == (409, "Too many mirror tasks")
    assert ok(start(3))["task"]["id"] == tasks[3]
    ok(http.post("/api/ssh/mirror/stop", json={"task_id": tasks[0]}))
    ok(start(16))


def test_four_connect_at_a_time_at_most(server: Server, http: httpx.Client, other: ParamikoServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute, ThreadPoolExecutor(4) as threads:
        port = mute.getsockname()[1]

        def connect(number: int) -> httpx.Response:
            entry = ENTRIES[number % 3]
            body = body_for(entry, port=port, username=f"u{number}", password=PASSWORD)
            return httpx.post(f"{server.url}{entry}", json=body, timeout=60)

        waiting = [threads.submit(connect, number) for number in range(4)]
        taken = [mute.accept()[0] for _ in waiting]
        for entry in ENTRIES:
            answer = http.post(entry, json=body_for(entry, port=other.port, password=PASSWORD))
            assert failure(answer)[:2] == (503, "Too many connection attempts in progress")
        assert other.transports == []
        for connection in taken:
            connection.close()
        assert {attempt.result().json()["code"] for attempt in waiting} == {"protocol"}
    ok(http.post(UNIFIED, json=body_for(UNIFIED, port=other.port, password=PASSWORD)))


LIMITS = {
    "POST /unified/connect": 5,
    "POST /unified/disconnect": 60,
    "GET /unified/status": 240,
    "GET /unified/listdir": 30,
    "POST /unified/configure_mode": 10,
    "POST /unified/deactivate_mode": 60,
    "POST /ssh/connect": 5,
    "GET /ssh/sessions": 240,
    "POST /ssh/close": 60,
    "GET /ssh/listdir": 60,
    "POST /ssh/mirror/start": 60,
    "POST /ssh/mirror/stop": 60,
    "GET /ssh/mirror/list": 240,
    "POST /remote/connect": 5,
    "GET /remote/status": 240,
    "POST /remote/sync": 20,
    "POST /remote/download/net/v1": 30,
    "GET /remote/download/task/status": 240,
    "DELETE /remote/download/task": 60,
    "GET /remote/downloads": 240,
    "POST /remote/cache/clear": 60,
    "POST /remote/cache/cleanup": 60,
    "POST /remote/mode/switch": 60,
    "GET /remote/mode": 240,
    "POST /remote/artifacts/net/v1/alias": 60,
    "POST /remote/artifacts/net/v1/tags": 60,
    "GET /remote/verify": 60,
    "POST /remote/disconnect": 60,
}


def test_every_call_has_the_rate_limit_of_the_contract(tmp_path: Path) -> None:
    with serving_at_home(tmp_path / "home", "--log-level", "info") as server:
        for call, limit in LIMITS.items():
            method, path = call.split()
            answer = server.http.request(method, f"/api{path}", json={} if method == "POST" else None)
            assert answer.status_code != 405, call
            assert answer.headers["x-ratelimit-limit"] == str(limit), call
        answers = [server.http.post(UNIFIED, json={}).status_code for _ in range(5)]
        assert answers[-1] == 429
