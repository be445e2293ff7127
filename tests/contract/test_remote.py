"""`/api/unified` and `/api/ssh`: a real server of ours, real SSH servers, real HTTP."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.plugins.remote.locked_files import LockedFiles
from tests.plugins.remote.mirroring import RUN, mirrored, write_run
from tests.plugins.remote.paramiko_server import ParamikoServer
from tests.promises import ENDED_S
from tests.serving import Server, wait_until
from tests.sshd import Sshd

PASSWORD = "tr0ub4dor-and-3"
CONNECT = ["/api/unified/connect", "/api/ssh/connect"]
MIRROR_STATE = {"active": False, "tasks": []}
BAD_HOST = "Invalid value for host: 1 to 253 characters, without white space, /, @ and what a shell interprets"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    (home / ".ssh").mkdir()
    return home


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[Server]:
    environment = {"HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config"), "SSH_AUTH_SOCK": ""}
    server = Server(home / "root", "--rate-limit", "off", environment=environment)
    yield server
    assert server.stop() == 0
    assert PASSWORD not in server.log
    for path in home.rglob("*"):
        assert not path.is_file() or PASSWORD.encode() not in path.read_bytes()


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    """Nothing is connected before and after a test."""
    yield server.http
    server.http.post("/api/unified/disconnect", json={"force": True})
    for mirror in server.http.get("/api/ssh/mirror/list").json()["mirrors"]:
        server.http.post("/api/ssh/mirror/stop", json={"task_id": mirror["id"]})
    for session in server.http.get("/api/ssh/sessions").json()["sessions"]:
        server.http.post("/api/ssh/close", json={"session_id": session["id"]})


@pytest.fixture
def other() -> Iterator[ParamikoServer]:
    with ParamikoServer(password=PASSWORD) as server:
        yield server


def login(sshd: Sshd, **fields: object) -> dict[str, object]:
    return {
        "host": sshd.host,
        "port": sshd.port,
        "username": sshd.username,
        "private_key_path": str(sshd.private_key_path),
        "use_agent": False,
        **fields,
    }


def by_password(other: ParamikoServer, **fields: object) -> dict[str, object]:
    address = {"host": "127.0.0.1", "port": str(other.port), "username": "me", "use_agent": False}
    return {**address, "password": PASSWORD, **fields}


def ok(response: httpx.Response) -> Any:
    assert response.status_code == 200, response.text
    return response.json()


def failure(response: httpx.Response) -> tuple[int, str, str | None]:
    return response.status_code, response.json()["detail"], response.json().get("code")


# ── connecting ──────────────────────────────────────────────────────────────


def test_a_connection_is_made_reported_and_ended(http: httpx.Client, sshd: Sshd) -> None:
    answer = ok(http.post("/api/unified/connect", json=login(sshd)))
    assert isinstance(answer.pop("connected_at"), float)
    connection_id = f"{sshd.username}@{sshd.host}:{sshd.port}"
    assert answer == {
        "ok": True,
        "status": "connected",
        "message": f"Successfully connected to {sshd.host}",
        "connection_id": connection_id,
        "host": sshd.host,
        "port": sshd.port,
        "username": sshd.username,
        "connected": True,
        "reference_count": 0,
        "reused": False,
        "host_key": {"type": sshd.host_key_type, "sha256": sshd.host_key_fingerprint, "first_use": True},
    }
    status = ok(http.get("/api/unified/status"))
    assert (status["connected"], status["connection_id"], status["last_error"]) == (True, connection_id, None)
    assert status["modes"]["mirror"] == MIRROR_STATE
    assert ok(http.post("/api/unified/disconnect")) == {"ok": True, "message": "Disconnected successfully"}
    assert sshd.wait_idle()
    assert ok(http.post("/api/unified/disconnect")) == {"ok": True, "message": "No active connection"}


def test_nothing_connected_has_its_full_shape(http: httpx.Client) -> None:
    assert ok(http.get("/api/unified/status")) == {
        "connected": False,
        "connection_id": None,
        "modes": {"smart": {"active": False}, "mirror": MIRROR_STATE},
        "connection": {"connected": False},
        "smart_mode": {"active": False},
        "mirror_mode": {"active": False},
        "cached_experiments": 0,
        "cached_artifacts": 0,
    }


@pytest.mark.parametrize("path", [*CONNECT, "/api/remote/connect"])
@pytest.mark.parametrize(
    "host", ["x;touch${IFS}oops", "$(touch${IFS}oops)", "`touch${IFS}oops`", "x|touch${IFS}oops", "x'", 'x"', "x&touch"]
)
def test_a_host_that_a_shell_would_run_is_refused(
    http: httpx.Client, home: Path, tmp_path: Path, path: str, host: str
) -> None:
    """`Match exec` of paramiko puts the name into a command as it is."""
    config = home / ".ssh" / "config"
    config.write_text(f'Match exec "cd {tmp_path} && true %n %h"\n Port 1\n')
    try:
        answer = http.post(path, json={"host": host, "username": "me", "password": PASSWORD, "remote_root": "/data"})
    finally:
        config.unlink()
    assert failure(answer)[:2] == (400, BAD_HOST)
    assert list(tmp_path.iterdir()) == []


def test_sessions_are_connections_of_their_own(http: httpx.Client, other: ParamikoServer) -> None:
    first = ok(http.post("/api/ssh/connect", json=by_password(other)))["session_id"]
    second = ok(http.post("/api/ssh/connect", json=by_password(other)))["session_id"]
    assert first != second
    sessions = ok(http.get("/api/ssh/sessions"))["sessions"]
    assert [(session["id"], session["connected"]) for session in sessions] == [(first, True), (second, True)]
    assert ok(http.post("/api/ssh/close", json={"session_id": first})) == {"ok": True}
    assert ok(http.post("/api/ssh/close", json={"session_id": first})) == {"ok": False}
    assert failure(http.post("/api/ssh/close", json={}))[:2] == (400, "session_id required")
    wait_until(lambda: other.open_sessions() == 1)


# ── listing ─────────────────────────────────────────────────────────────────


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "remote-home" / "data"
    (folder / "Nlp").mkdir(parents=True)
    (folder / "notes.txt").write_text("hello")
    (folder / ".hidden").write_text("")
    (folder / "link").symlink_to("Nlp")
    (folder / "dangling").symlink_to("nowhere")
    os.mkfifo(folder / "pipe")
    (folder / os.fsdecode(b"odd-\xff")).write_text("")
    return folder


def test_a_directory_is_listed_in_byte_order(http: httpx.Client, sshd: Sshd, folder: Path) -> None:
    ok(http.post("/api/unified/connect", json=login(sshd)))
    answer = ok(http.get("/api/unified/listdir", params={"path": "~/data"}))
    assert answer["current_path"] == str(folder)
    assert [(item["name"], item["type"], item["size"]) for item in answer["items"]] == [
        ("Nlp", "dir", 0),
        ("dangling", "unknown", 0),
        ("link", "dir", 0),
        ("notes.txt", "file", 5),
        ("odd-\ufffd", "file", 0),
        ("pipe", "unknown", 0),
    ]
    shown = ok(http.get("/api/unified/listdir", params={"path": str(folder), "show_hidden": "true"}))
    assert ".hidden" in [item["name"] for item in shown["items"]]


@pytest.mark.parametrize(
    ("path", "relative"),
    [("~", ""), ("", ""), ("data", "data"), ("~/data/", "data"), ("data/../data/./Nlp", "data/Nlp")],
)
def test_paths_are_made_absolute(http: httpx.Client, sshd: Sshd, folder: Path, path: str, relative: str) -> None:
    ok(http.post("/api/unified/connect", json=login(sshd)))
    answer = ok(http.get("/api/unified/listdir", params={"path": path}))
    assert answer["current_path"] == str(folder.parent / relative).rstrip("/")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("~bob", (400, "Invalid remote path: ~user is not supported", "bad_path")),
        ("a\0b", (400, "Invalid remote path: control characters are not allowed", "bad_path")),
        ("x" * 5000, (400, "Invalid remote path: longer than 4096 bytes", "bad_path")),
        ("data/absent", (404, "Remote path not found: data/absent", "not_found")),
        ("data/dangling", (404, "Remote path not found: data/dangling", "not_found")),
        ("data/notes.txt", (400, "Not a directory: data/notes.txt", "not_a_directory")),
    ],
)
def test_paths_that_cannot_be_listed(
    http: httpx.Client, sshd: Sshd, folder: Path, path: str, expected: tuple[int, str, str]
) -> None:
    ok(http.post("/api/unified/connect", json=login(sshd)))
    session = ok(http.post("/api/ssh/connect", json=login(sshd)))["session_id"]
    assert failure(http.get("/api/unified/listdir", params={"path": path})) == expected
    assert failure(http.get("/api/ssh/listdir", params={"path": path, "session_id": session})) == expected


@pytest.fixture
def locked() -> Iterator[ParamikoServer]:
    with ParamikoServer(password=PASSWORD, files=LockedFiles) as server:
        yield server


@pytest.mark.parametrize("path", ["locked", "~/locked", "x/../locked"])
def test_a_forbidden_directory_is_called_as_the_client_called_it(
    http: httpx.Client, locked: ParamikoServer, path: str
) -> None:
    ok(http.post("/api/unified/connect", json=by_password(locked)))
    session = ok(http.post("/api/ssh/connect", json=by_password(locked)))["session_id"]
    expected = (403, f"Permission denied: {path}", "permission_denied")
    assert failure(http.get("/api/unified/listdir", params={"path": path})) == expected
    assert failure(http.get("/api/ssh/listdir", params={"path": path, "session_id": session})) == expected


def test_no_mode_begins_with_a_directory_that_cannot_be_read(http: httpx.Client, locked: ParamikoServer) -> None:
    connection_id = ok(http.post("/api/unified/connect", json=by_password(locked)))["connection_id"]
    expected = (403, "Permission denied: ~/locked", "permission_denied")
    for mode in ("smart", "mirror"):
        body = {"mode": mode, "remote_root": "~/locked"}
        assert failure(http.post("/api/unified/configure_mode", json=body)) == expected
    body = {"session_id": connection_id, "remote_root": "~/locked"}
    answer = failure(http.post("/api/ssh/mirror/start", json=body))
    assert answer[:2] == (400, "Mirror start failed: Permission denied: ~/locked")
    assert failure(http.post("/api/remote/connect", json=by_password(locked, remote_root="~/locked"))) == expected
    assert ok(http.get("/api/ssh/mirror/list"))["mirrors"] == []
    assert ok(http.get("/api/remote/status"))["status"] == "disconnected"


def test_the_older_listing_has_directories_first_and_everything(http: httpx.Client, sshd: Sshd, folder: Path) -> None:
    session = ok(http.post("/api/ssh/connect", json=login(sshd)))["session_id"]
    answer = ok(http.get("/api/ssh/listdir", params={"session_id": session, "path": str(folder)}))
    assert [item["name"] for item in answer["items"]][:3] == ["link", "Nlp", ".hidden"]
    assert failure(http.get("/api/ssh/listdir"))[:2] == (400, "Missing required parameter: session_id")
    unknown = http.get("/api/ssh/listdir", params={"session_id": "x"})
    assert failure(unknown) == (400, "session not connected", "not_connected")


def test_without_a_connection_nothing_is_listed(http: httpx.Client) -> None:
    expected = (400, "No active SSH connection. Please connect first.", "not_connected")
    assert failure(http.get("/api/unified/listdir")) == expected


# ── a server that does not answer ───────────────────────────────────────────


def slowest_health_s(http: httpx.Client, until: Callable[[], bool]) -> float:
    slowest = 0.0
    while not until():
        started = time.monotonic()
        ok(http.get("/api/health"))
        slowest = max(slowest, time.monotonic() - started)
    return slowest


@pytest.mark.slow(25)
def test_a_frozen_server_holds_nothing_else_up(server: Server, http: httpx.Client, sshd: Sshd) -> None:
    ok(http.post("/api/unified/connect", json=login(sshd)))
    sshd.freeze()
    with httpx.Client(base_url=server.url, timeout=60) as patient:
        import threading

        answers: list[httpx.Response] = []
        thread = threading.Thread(target=lambda: answers.append(patient.get("/api/unified/listdir")))
        thread.start()
        slowest = slowest_health_s(http, until=lambda: bool(answers))
        thread.join()
    assert failure(answers[0]) == (408, "Remote operation timed out", "timeout")
    assert slowest < 1  # a bound for a blocked event loop, not a measurement
    wait_until(lambda: not ok(http.get("/api/unified/status"))["connected"], timeout_s=60)
    assert ok(http.get("/api/unified/status"))["last_error"]
    sshd.thaw()


@pytest.mark.slow(15)
def test_all_who_wait_for_a_frozen_server_hear_of_it_together(server: Server, http: httpx.Client, sshd: Sshd) -> None:
    ok(http.post("/api/unified/connect", json=login(sshd)))
    ok(http.get("/api/unified/listdir"))
    sshd.freeze()
    with httpx.Client(base_url=server.url, timeout=60) as patient, ThreadPoolExecutor(3) as threads:

        def listing(_: int) -> tuple[httpx.Response, float]:
            return patient.get("/api/unified/listdir"), time.monotonic()

        answers = list(threads.map(listing, range(3)))
    sshd.thaw()
    assert {failure(answer) for answer, _ in answers} == {(408, "Remote operation timed out", "timeout")}
    ended = [at for _, at in answers]
    assert max(ended) - min(ended) < 8  # asking one after the other, each would wait for another 10 s at least


@pytest.mark.slow
def test_mirrors_on_a_frozen_server_are_stopped_at_once(http: httpx.Client, sshd: Sshd, tmp_path: Path) -> None:
    connection_id = ok(http.post("/api/unified/connect", json=login(sshd)))["connection_id"]
    for number in range(2):
        root = tmp_path / f"root{number}"
        write_run(root, f"vision/resnet/runs/frozen{number}", status="running")
        body = {"session_id": connection_id, "remote_root": str(root), "interval": 0.5}
        ok(http.post("/api/ssh/mirror/start", json=body))

    def states() -> set[str]:
        return {task["state"] for task in ok(http.get("/api/ssh/mirror/list"))["mirrors"]}

    wait_until(lambda: states() == {"watching"})
    sshd.freeze()
    time.sleep(2)  # until each of them waits for the server
    # One after the other they would wait for their threads for 10 s.
    ok(http.post("/api/unified/disconnect", json={"force": True}, timeout=7))
    assert ok(http.get("/api/ssh/mirror/list"))["mirrors"] == []


# ── mirroring ───────────────────────────────────────────────────────────────


def test_the_flow_of_the_web_page_mirrors_runs_that_lists_then_show(
    server: Server, http: httpx.Client, sshd: Sshd, tmp_path: Path
) -> None:
    remote = tmp_path / "remote"
    write_run(remote, status="running", hostname="elsewhere", pid=1)
    connection_id = ok(http.post("/api/unified/connect", json=login(sshd)))["connection_id"]
    wanted = {"session_id": connection_id, "remote_root": str(remote), "interval": "0.1"}
    task = ok(http.post("/api/ssh/mirror/start", json=wanted))["task"]
    assert task["id"].startswith(f"mirror:{connection_id}:")
    assert (task["session_id"], task["remote_root"], task["interval"]) == (connection_id, str(remote), 0.5)
    run_id = RUN.rpartition("/")[2]
    wait_until(lambda: run_id in [run["id"] for run in ok(http.get("/api/runs"))])
    assert {path: data for path, data in mirrored(server.root).items() if path.startswith(RUN)} == mirrored(remote)
    ok(http.post("/api/status/check"))
    wait_until(lambda: ok(http.get(f"/api/runs/{run_id}"))["status"] == "running")
    ok(http.post("/api/status/check"))
    assert ok(http.get(f"/api/runs/{run_id}"))["status"] == "running"
    again = ok(http.post("/api/ssh/mirror/start", json={**wanted, "interval": 3}))["task"]
    assert (again["id"], again["interval"]) == (task["id"], 3.0)

    listed = ok(http.get("/api/ssh/mirror/list"))
    status = ok(http.get("/api/unified/status"))
    assert listed["storage"] == str(server.root)
    assert [mirror["id"] for mirror in listed["mirrors"]] == [task["id"]]
    assert [mirror["id"] for mirror in status["modes"]["mirror"]["tasks"]] == [task["id"]]
    assert (status["reference_count"], status["mirror_mode"]["remote_root"]) == (1, str(remote))

    busy = ok(http.post("/api/unified/disconnect"))
    assert busy == {
        "ok": False,
        "message": "Connection is in use by active modes",
        "smart_active": False,
        "mirror_active": True,
    }
    assert ok(http.post("/api/ssh/mirror/stop", json={"task_id": task["id"]})) == {"ok": True}
    assert ok(http.post("/api/ssh/mirror/stop", json={"task_id": task["id"]})) == {"ok": False}
    assert ok(http.post("/api/unified/disconnect"))["ok"] is True
    assert sshd.wait_idle()


def test_mirrored_runs_say_where_they_come_from_and_a_run_of_the_same_id_here_is_the_one_that_is_meant(
    server: Server, http: httpx.Client, sshd: Sshd, tmp_path: Path
) -> None:
    remote = tmp_path / "remote"
    taken, free = "apart/net/runs/20250301_101010_cccccc", "apart/net/runs/20250301_101011_dddddd"
    write_run(server.root, taken, events=1)
    write_run(remote, taken, status="running", events=7, hostname=socket.gethostname(), pid=2**22 - 1)
    write_run(remote, free, status="running", hostname=socket.gethostname(), pid=2**22 - 1)
    source = ok(http.post("/api/unified/connect", json=login(sshd)))["connection_id"]
    ok(http.post("/api/unified/configure_mode", json={"mode": "mirror", "remote_root": str(remote)}))

    def listed() -> dict[str, str | None]:
        return {run["run_dir"]: run.get("source") for run in ok(http.get("/api/runs")) if run["project"] == "apart"}

    def aside() -> Path:
        return next((server.root / ".mirrors").glob(f"*/tree/{taken}"))

    wait_until(lambda: len([at for at in listed().values() if at == source]) == 2, f"origins: {listed()}")
    assert listed() == {f"{server.root}/{taken}": None, f"{server.root}/{free}": source, str(aside()): source}
    assert list(listed())[-1] == str(aside())

    here = ok(http.get(f"/api/runs/{taken.rpartition('/')[2]}"))
    assert (here["run_dir"], here["status"], "source" in here) == (f"{server.root}/{taken}", "finished", False)
    assert len(ok(http.get(f"/api/runs/{taken.rpartition('/')[2]}/metrics_step"))["rows"]) == 1
    wait_until(lambda: ok(http.get(f"/api/runs/{free.rpartition('/')[2]}"))["status"] == "running")
    ok(http.post("/api/status/check"))  # the process ids there name no process here
    there = ok(http.get(f"/api/runs/{free.rpartition('/')[2]}"))
    assert (there["source"], there["status"]) == (source, "running")
    found = ok(http.get("/api/v2/experiments", params={"project": "apart"}))["experiments"]
    assert sorted(str(run.get("source")) for run in found) == sorted(["None", source, source])


def test_a_mirror_survives_another_connection_and_ends_with_force(
    http: httpx.Client, sshd: Sshd, other: ParamikoServer, tmp_path: Path
) -> None:
    remote = tmp_path / "remote"
    remote.mkdir()
    connection_id = ok(http.post("/api/unified/connect", json=login(sshd)))["connection_id"]
    ok(http.post("/api/unified/configure_mode", json={"mode": "mirror", "remote_root": str(remote)}))
    ok(http.post("/api/unified/connect", json=by_password(other)))
    assert [mirror["alive"] for mirror in ok(http.get("/api/ssh/mirror/list"))["mirrors"]] == [True]
    assert ok(http.post("/api/unified/connect", json=login(sshd)))["connection_id"] == connection_id
    assert ok(http.post("/api/unified/disconnect", json={"force": True}))["ok"] is True
    assert ok(http.get("/api/ssh/mirror/list"))["mirrors"] == []
    assert sshd.wait_idle()


def test_a_mirror_that_has_given_up_holds_no_connection(http: httpx.Client, sshd: Sshd, tmp_path: Path) -> None:
    connection_id = ok(http.post("/api/unified/connect", json=login(sshd)))["connection_id"]
    (tmp_path / "root").mkdir()
    body = {"session_id": connection_id, "remote_root": str(tmp_path / "root")}
    ok(http.post("/api/ssh/mirror/start", json=body))
    assert ok(http.get("/api/unified/status"))["reference_count"] == 1
    sshd.change_host_key()
    wait_until(lambda: ok(http.get("/api/unified/status"))["reference_count"] == 0, "the end", timeout_s=40)
    (failed,) = ok(http.get("/api/ssh/mirror/list"))["mirrors"]
    assert (failed["state"], failed["alive"]) == ("error", False)
    assert ok(http.post("/api/unified/disconnect")) == {"ok": True, "message": "Disconnected successfully"}
    assert ok(http.post("/api/ssh/mirror/stop", json={"task_id": failed["id"]})) == {"ok": True}


def test_closing_a_session_ends_its_mirrors(http: httpx.Client, sshd: Sshd, tmp_path: Path) -> None:
    (tmp_path / "remote").mkdir()
    session = ok(http.post("/api/ssh/connect", json=login(sshd)))["session_id"]
    ok(http.post("/api/ssh/mirror/start", json={"session_id": session, "remote_root": str(tmp_path / "remote")}))
    assert ok(http.post("/api/ssh/close", json={"session_id": session})) == {"ok": True}
    assert ok(http.get("/api/ssh/mirror/list"))["mirrors"] == []
    assert sshd.wait_idle()


def test_a_mirror_that_cannot_begin_says_why(http: httpx.Client, sshd: Sshd, folder: Path) -> None:
    session = ok(http.post("/api/ssh/connect", json=login(sshd)))["session_id"]

    def start(**body: object) -> tuple[int, str]:
        return failure(http.post("/api/ssh/mirror/start", json=body))[:2]

    assert start() == (400, "session_id and remote_root are required")
    assert start(session_id="x", remote_root="~") == (400, "Mirror start failed: session not found")
    prefix = "Mirror start failed: "
    assert start(session_id=session, remote_root="/absent") == (400, prefix + "Remote path not found: /absent")
    file = str(folder / "notes.txt")
    assert start(session_id=session, remote_root=file) == (400, f"{prefix}Not a directory: {file}")
    bad = start(session_id=session, remote_root=str(folder), interval="often")
    assert bad == (400, prefix + "Invalid value for interval: must be a number")
    assert ok(http.get("/api/ssh/mirror/list"))["mirrors"] == []


def test_modes_are_checked(http: httpx.Client, sshd: Sshd) -> None:
    no_connection = http.post("/api/unified/configure_mode", json={"mode": "mirror"})
    assert failure(no_connection)[:2] == (400, "No active SSH connection")
    ok(http.post("/api/unified/connect", json=login(sshd)))
    assert failure(http.post("/api/unified/configure_mode", json={}))[:2] == (400, "Missing required field: mode")
    unknown = http.post("/api/unified/configure_mode", json={"mode": "x"})
    assert failure(unknown)[:2] == (400, "Unknown mode: x")
    remembered = ok(http.post("/api/unified/configure_mode", json={"mode": "mirror", "mirror_interval": 0}))
    assert (remembered["mirror_interval"], remembered["remote_root"], remembered["task"]) == (2.0, None, None)
    stopped = ok(http.post("/api/unified/deactivate_mode", json={"mode": "mirror"}))
    assert stopped == {"ok": True, "mode": "mirror", "message": "Mirror mode deactivated"}


def test_a_server_that_ends_leaves_no_session(
    serve: Callable[..., Server], home: Path, sshd: Sshd, tmp_path: Path
) -> None:
    (tmp_path / "remote").mkdir()
    environment = {"HOME": str(home), "XDG_CONFIG_HOME": str(tmp_path / "config"), "SSH_AUTH_SOCK": ""}
    server = serve(tmp_path / "own-root", "--rate-limit", "off", environment=environment)
    connection_id = ok(server.http.post("/api/unified/connect", json=login(sshd)))["connection_id"]
    started = {"session_id": connection_id, "remote_root": str(tmp_path / "remote")}
    ok(server.http.post("/api/ssh/mirror/start", json=started))
    assert server.stop(signal.SIGTERM, timeout_s=ENDED_S) == 0
    assert sshd.wait_idle()


# ── saved connections ───────────────────────────────────────────────────────

SAVED = "/api/config/ssh_connections"


def save(http: httpx.Client, other: ParamikoServer, **fields: object) -> dict[str, Any]:
    """Save a connection with its password, and load it as the web interface does."""
    body = {"host": "127.0.0.1", "port": other.port, "username": "me", "remember_password": True, "password": PASSWORD}
    key = ok(http.post(SAVED, json={**body, **fields}))["key"]
    return ok(http.get(f"{SAVED}/{key}/details"))["connection"]


@pytest.mark.parametrize("path", CONNECT)
def test_what_details_gave_connects_and_a_reference_opens_nothing_else(
    http: httpx.Client, other: ParamikoServer, path: str
) -> None:
    details = save(http, other)
    assert PASSWORD not in str(details)
    ok(http.post(path, json={**details, "use_agent": False}))
    before = len(other.transports)
    foreign = {**details, "username": "somebody"}
    assert failure(http.post(path, json=foreign)) == (400, "Saved secret belongs to another connection", None)
    with ParamikoServer(password=PASSWORD) as third:
        elsewhere = {**details, "port": third.port}
        assert failure(http.post(path, json=elsewhere)) == (400, "Saved secret belongs to another connection", None)
        assert len(third.transports) == 0
    expired = (400, "Saved secret reference has expired; load the connection again", None)
    assert failure(http.post(path, json={**details, "password": "saved:q3v0Jx1mT9y2bW8kZr5uLA"})) == expired
    ok(http.request("DELETE", f"{SAVED}/{details['key']}"))
    assert failure(http.post(path, json=details)) == expired
    assert len(other.transports) == before
