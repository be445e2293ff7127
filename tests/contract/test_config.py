"""`GET /api/config`, `POST /api/config/user_root_dir`: what is stored, and what the running server shows then."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import websockets.sync.client
from websockets.exceptions import ConnectionClosed

from runicorn.plugin import API_VERSION
from tests.serving import Server, serve, wait_until
from tests.stores import make_run, metrics_event

__all__ = ["serve"]

EMPTY = "Invalid path: path must be a non-empty string"
RELATIVE = "Invalid path: path must be absolute"
UNUSABLE = "Invalid path: Path does not exist or is not writable"
NOT_SAVED = {"detail": "Configuration could not be saved"}
OLD_RUN = "20260101_000000_aaaaaa"
NEW_RUN = "20260101_000001_bbbbbb"


class Session:
    """A server with a configuration of its own."""

    def __init__(self, base: Path, *arguments: str, environment: dict[str, str] | None = None) -> None:
        self.base = base
        self.root = base / "root"
        self.config = base / "config" / "runicorn" / "config.json"
        variables = {"XDG_CONFIG_HOME": str(base / "config"), "HOME": str(base / "home"), **(environment or {})}
        self.server = Server(self.root, "--rate-limit", "off", *arguments, environment=variables)
        self.http = self.server.http

    def post(self, path: object):
        return self.http.post("/api/config/user_root_dir", json={"path": path})

    def stored(self) -> object:
        return json.loads(self.config.read_text())["user_root_dir"] if self.config.exists() else None


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    session = Session(tmp_path_factory.mktemp("config-api"), environment={"WHERE": "via-variable"})
    yield session
    assert session.server.stop() == 0
    assert "Traceback" not in session.server.log


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Session]]:
    sessions: list[Session] = []

    def start(*arguments: str) -> Session:
        sessions.append(Session(tmp_path, *arguments))
        return sessions[-1]

    yield start
    for session in sessions:
        assert session.server.stop() == 0
        assert "Traceback" not in session.server.log


def test_the_configuration_shows_the_root_in_use_and_where_the_file_would_be(session: Session) -> None:
    answer = session.http.get("/api/config")
    assert list(answer.json()) == ["user_root_dir", "storage", "config_file", "version"]
    assert answer.json()["storage"] == session.http.get("/api/health").json()["storage"]
    assert answer.json()["config_file"] == str(session.config)
    assert answer.json()["version"] == API_VERSION
    assert answer.headers["x-ratelimit-limit"] == "60"
    assert session.post("x").headers["x-ratelimit-limit"] == "10"


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        (None, EMPTY), ("", EMPTY), ("  ", EMPTY), (5, EMPTY), (["x"], EMPTY), ({"a": 1}, EMPTY), (True, EMPTY),
        ("rel/dir", RELATIVE), ("$UNSET_VARIABLE/x", RELATIVE), ("{base}/a\0b", RELATIVE), ("{base}/a\nb", RELATIVE),
        ("{base}/file", UNUSABLE), ("{base}/file/below/it", UNUSABLE), ("{base}/" + "x" * 300, UNUSABLE),
        ("{base}/" + "d/" * 3000, UNUSABLE), ("/proc/no/such", UNUSABLE), ("{base}/blocked", UNUSABLE),
    ],
)  # fmt: skip
def test_a_path_that_is_no_root_changes_nothing(session: Session, path: object, detail: str) -> None:
    (session.base / "file").write_text("")
    (session.base / "blocked").mkdir(exist_ok=True)
    (session.base / "blocked" / ".runicorn").write_text("")  # the state directory cannot be made
    path = path.replace("{base}", str(session.base)) if isinstance(path, str) else path
    before = (session.http.get("/api/config").json(), session.stored(), tree(session.base))
    answer = session.post(path)
    assert (answer.status_code, answer.json()) == (400, {"detail": detail})
    assert (session.http.get("/api/config").json(), session.stored(), tree(session.base)) == before


@pytest.mark.parametrize("body", [b"", b"[]", b"5", b"{", b"null"])
def test_a_body_that_is_no_object_changes_nothing(session: Session, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    answer = session.http.post("/api/config/user_root_dir", content=body, headers=headers)
    assert (answer.status_code, answer.json()) == (400, {"detail": "Request body must be a JSON object"})
    answer = session.http.post("/api/config/user_root_dir", content=b"{}", headers=headers)
    assert (answer.status_code, answer.json()) == (400, {"detail": EMPTY})


def tree(base: Path) -> set[str]:
    """All directories below `base`, without the configuration's and the served root's own."""
    return {
        os.path.join(where, name)
        for where, names, _ in os.walk(base)
        for name in names
        if ".runicorn" not in os.path.join(where, name)
    }


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("{base}/new/deep", "new/deep"),
        ("  {base}/trimmed ", "trimmed"),
        ("{base}/a/../b/./c", "b/c"),
        ("{base}/$WHERE", "via-variable"),
        ("{base}/${WHERE}/x", "via-variable/x"),
        ("~/runs", "home/runs"),
        ("{base}/link/x", "real/x"),
        ("{base}/ünï code", "ünï code"),
    ],
)
def test_a_new_root_is_made_stored_and_served_at_once(session: Session, path: str, expected: str) -> None:
    (session.base / "real").mkdir(exist_ok=True)
    if not (session.base / "link").is_symlink():
        (session.base / "link").symlink_to(session.base / "real")
    root = str(session.base / expected)
    answer = session.post(path.replace("{base}", str(session.base)))
    message = "User root directory updated successfully"
    assert answer.json() == {"ok": True, "user_root_dir": root, "storage": root, "message": message}
    assert session.stored() == root
    assert stat.S_IMODE(session.config.stat().st_mode) == 0o600
    shown = session.http.get("/api/config").json()
    assert (shown["user_root_dir"], shown["storage"]) == (root, root)
    assert session.http.get("/api/health").json()["storage"] == root
    assert Path(root, "runs").is_dir()
    assert session.post(root).json()["storage"] == root


def test_if_the_root_cannot_be_stored_the_server_stays_where_it_is(session: Session) -> None:
    before = (session.http.get("/api/config").json(), session.config.read_bytes())
    lock = session.config.with_name("config.json.lock")
    lock.unlink()
    lock.mkdir()  # also the superuser cannot lock a directory
    try:
        answer = session.post(str(session.base / "never"))
        assert (answer.status_code, answer.json()) == (503, NOT_SAVED)
        same = session.post(before[0]["storage"])
        assert (same.status_code, same.json()) == (503, NOT_SAVED)
    finally:
        lock.rmdir()
    assert (session.http.get("/api/config").json(), session.config.read_bytes()) == before
    assert not [process for process in projectors(session.server) if str(session.base / "never") in command(process)]


def test_where_no_configuration_can_be_written_everything_that_would_is_a_503(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    # Below /proc not even the superuser can make a directory.
    server = serve(tmp_path / "root", "--rate-limit", "off", environment={"XDG_CONFIG_HOME": "/proc"})
    connection = {"host": "h", "username": "u", "password": "hunter2", "remember_password": True}
    layout = {"table": "t", "size": "1x1", "widths": {"a": 1}}
    for path, body in (
        ("user_root_dir", {"path": str(tmp_path / "two")}),
        ("ssh_connections", connection),
        ("ssh_connections", {**connection, "remember_password": False}),
        ("column-widths", layout),
    ):
        answer = server.http.post(f"/api/config/{path}", json=body)
        assert (answer.status_code, answer.json()) == (503, NOT_SAVED)
    assert server.http.get("/api/config").json()["storage"] == str(tmp_path / "root")
    assert server.http.get("/api/config/ssh_connections").json() == {"connections": []}
    assert not (tmp_path / "two" / "runs").exists()
    assert "hunter2" not in server.log


@pytest.mark.parametrize("content", ["[1]", "garbage", "", '{"user_root_dir": 5}', '{"user_root_dir": ["x"]}'])
def test_an_odd_configuration_is_no_error_and_is_kept_aside_when_it_is_none(session: Session, content: str) -> None:
    session.config.parent.mkdir(parents=True, exist_ok=True)
    session.config.write_text(content)
    assert session.http.get("/api/config").json()["user_root_dir"] == ""
    for aside in session.config.parent.glob("config.json.broken-*"):
        aside.unlink()
    assert session.post(str(session.base / "after")).status_code == 200
    kept = [path.read_text() for path in session.config.parent.glob("config.json.broken-*")]
    assert kept == ([] if content.startswith("{") else [content])


# ── a switch, seen from everywhere ──────────────────────────────────────────


def projectors(server: Server) -> list[psutil.Process]:
    found = psutil.Process(server.process.pid).children(recursive=True)
    return [process for process in found if "runicorn.projection" in command(process)]


def command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:  # it has just ended
        return []


def make_stores(base: Path) -> tuple[Path, Path]:
    """Two roots, each with a live and a deleted run, a log, and an artifact used by the live one."""
    for root, run_id in (("root", OLD_RUN), ("two", NEW_RUN)):
        created = {"artifacts": [{"name": f"{root}-model", "version": 1, "type": "model", "size_bytes": 1}]}
        run = make_run(
            base / root,
            f"{root}-project/n/runs/{run_id}",
            events=metrics_event(global_step=1, loss=1.0),
            meta={"project": f"{root}-project", "name": "n"},
            status={"status": "running", "started_at": 1.0},
            artifacts_created=created,
        )
        (run / "logs.txt").write_text(f"log of {root}\n")
        deleted = make_run(base / root, f"{root}-project/n/runs/{run_id[:-6]}dddddd", meta={"project": "d"})
        (deleted / ".deleted").write_text('{"deleted_at": 5.0, "reason": "test"}')
    return base / "root", base / "two"


def everything(server: Server) -> dict[str, object]:
    """What lists, the recycle bin, detail, V2, artifacts, health and configuration show of the root."""
    http = server.http
    runs = http.get("/api/runs").json()
    ids = [run["id"] for run in runs]
    return {
        "runs": ids,
        "directories": [run["run_dir"] for run in runs],
        "v2": [item["id"] for item in http.get("/api/v2/experiments").json()["experiments"]],
        "metrics": [http.get(f"/api/runs/{run_id}/metrics_step").json()["columns"] for run_id in ids],
        "artifacts": [http.get(f"/api/runs/{run_id}/artifacts").json() for run_id in ids],
        "bin": [run["run_dir"] for run in http.get("/api/recycle-bin").json()["deleted_runs"]],
        "status": http.post("/api/status/check").json()["checked"],
        "storage": http.get("/api/health").json()["storage"],
        "config": http.get("/api/config").json()["storage"],
    }


@pytest.mark.parametrize("workers", [1, 2])
def test_after_a_switch_everything_shows_the_new_root_and_nothing_touches_the_old_one(
    start: Callable[..., Session], tmp_path: Path, workers: int
) -> None:
    old, new = make_stores(tmp_path)
    session = start("--workers", str(workers))
    wait_until(lambda: everything(session.server)["runs"] == [OLD_RUN], "the first root")
    url = f"ws://127.0.0.1:{session.server.port}/api/runs/{OLD_RUN}/logs/ws"
    with websockets.sync.client.connect(url) as socket:
        assert socket.recv(timeout=20) == "log of root"
        wait_until(lambda: descriptors(session.server, old), "open files of the old root")

        assert session.post(str(new)).json()["storage"] == str(new)
        for _ in range(20):  # whichever worker answers
            assert session.http.get("/api/health", headers={"connection": "close"}).json()["storage"] == str(new)
        with pytest.raises(ConnectionClosed):  # noqa: PT012 - what was on its way may come first
            while True:
                socket.recv(timeout=20)

    wait_until(lambda: everything(session.server)["runs"] == [NEW_RUN], "the runs of the new root")
    seen = everything(session.server)
    assert seen["v2"] == [NEW_RUN]
    assert seen["directories"] == [str(new / "two-project" / "n" / "runs" / NEW_RUN)]
    assert seen["bin"] == [str(new / "two-project" / "n" / "runs" / f"{NEW_RUN[:-6]}dddddd")]
    assert "loss" in str(seen["metrics"])
    assert "two-model" in str(seen["artifacts"])
    assert seen["status"] == 1
    assert (seen["storage"], seen["config"]) == (str(new), str(new))
    assert session.http.get(f"/api/runs/{OLD_RUN}").status_code == 404
    with websockets.sync.client.connect(url.replace(OLD_RUN, NEW_RUN)) as socket:
        assert socket.recv(timeout=20) == "log of two"

    wait_until(lambda: not descriptors(session.server, old), "the old root to be left")
    wait_until(lambda: not watches(session.server, old), "watches of the old root to end")
    assert not [process for process in projectors(session.server) if str(old) in command(process)]
    before = snapshot(old)
    with open(new / "two-project" / "n" / "runs" / NEW_RUN / "events.jsonl", "a") as events:
        events.write(metrics_event(2.0, global_step=2, extra=1.0))
    wait_until(lambda: "extra" in str(everything(session.server)["metrics"]), "the new root to be followed")
    assert snapshot(old) == before


def descriptors(server: Server, root: Path) -> list[str]:
    """Files below `root` that some process of the server has open or mapped, or works in."""
    found: list[str] = []
    for process in processes(server):
        for entry in (*Path(f"/proc/{process.pid}/fd").glob("*"), Path(f"/proc/{process.pid}/cwd")):
            try:
                found.append(os.readlink(entry))
            except OSError:
                continue
        try:
            found += [line.split(maxsplit=5)[-1] for line in Path(f"/proc/{process.pid}/maps").read_text().splitlines()]
        except OSError:
            continue
    return [path for path in found if path.startswith(f"{root}{os.sep}")]


def watches(server: Server, root: Path) -> list[str]:
    """inotify watches of the server's processes on directories below `root`, as inodes in hex."""
    inodes = {f"{os.stat(where).st_ino:x}" for where, _, _ in os.walk(root)}
    found: list[str] = []
    for process in processes(server):
        for info in Path(f"/proc/{process.pid}/fdinfo").glob("*"):
            try:
                lines = info.read_text().splitlines()
            except OSError:
                continue
            found += [
                part[4:] for line in lines if line.startswith("inotify") for part in line.split() if "ino:" in part
            ]
    return [inode for inode in found if inode.removeprefix("ino:") in inodes]


def processes(server: Server) -> list[psutil.Process]:
    main = psutil.Process(server.process.pid)
    return [main, *main.children(recursive=True)]


def snapshot(root: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for where, _, names in os.walk(root):
        for name in names:
            info = os.stat(os.path.join(where, name))
            found[os.path.join(where, name)] = (info.st_size, info.st_mtime_ns)
    return found


def test_a_switch_that_a_worker_cannot_follow_leaves_file_and_server_as_they_were(
    start: Callable[..., Session], tmp_path: Path
) -> None:
    session = start("--workers", "2")
    assert session.post(str(tmp_path / "first")).status_code == 200
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / ".runicorn").write_text("")
    lines = session.config.read_bytes()
    for _ in range(4):  # whichever worker is asked
        answer = session.http.post(
            "/api/config/user_root_dir", json={"path": str(blocked)}, headers={"connection": "close"}
        )
        assert (answer.status_code, answer.json()) == (400, {"detail": UNUSABLE})
        assert session.http.get("/api/config", headers={"connection": "close"}).json()["storage"] == str(
            tmp_path / "first"
        )
    assert session.config.read_bytes() == lines
    assert sorted(os.listdir(blocked)) == [".runicorn"]


@pytest.mark.slow(2)
def test_a_worker_that_dies_after_a_switch_comes_back_on_the_new_root(
    start: Callable[..., Session], tmp_path: Path
) -> None:
    session = start("--workers", "2")
    assert session.post(str(tmp_path / "two")).status_code == 200
    workers = workers_of(session.server)
    for process in workers:
        process.kill()
    wait_until(lambda: len(workers_of(session.server) - workers) == 2, "new workers")

    def storage() -> str:
        try:
            return session.http.get("/api/health", headers={"connection": "close"}).json()["storage"]
        except Exception:  # the killed worker's connection
            return ""

    wait_until(lambda: storage() == str(tmp_path / "two"), "an answer")
    assert {storage() for _ in range(10)} == {str(tmp_path / "two")}


def workers_of(server: Server) -> set[psutil.Process]:
    return {process for process in processes(server) if "runicorn.server.worker" in command(process)}


def test_requests_that_run_during_many_switches_are_all_answered(start: Callable[..., Session], tmp_path: Path) -> None:
    session = start("--workers", "2")
    roots = [str(tmp_path / name) for name in ("one", "two", "three")]
    with ThreadPoolExecutor(3) as pool:
        posts = [pool.submit(session.post, root) for root in roots]
        seen = {session.http.get("/api/config").json()["storage"] for _ in range(50)}
        answers = [post.result() for post in posts]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert seen <= {*roots, str(session.root)}
    final = {session.http.get("/api/config", headers={"connection": "close"}).json()["storage"] for _ in range(20)}
    assert final == {session.stored()}
