"""Smart mode: what a sync sees, what can be read meanwhile and afterwards, and what odd words do to a server."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.contract.remote_entries import (
    PASSWORD,
    REMOTE,
    UNIFIED,
    body_for,
    failure,
    leave_all,
    login_to,
    ok,
)
from tests.plugins.remote.locked_files import LockedFiles
from tests.plugins.remote.made_up_files import DIRECTORY, Entry, serving
from tests.plugins.remote.mirroring import RUN, write_run
from tests.plugins.remote.paramiko_server import ParamikoServer
from tests.promises import CANCELLED_S
from tests.serving import Server, wait_until
from tests.ssh_server import sshd_or_skip
from tests.sshd import Sshd

RUN_ID = RUN.rpartition("/")[2]
DAY_S = 86_400


@pytest.fixture
def http(server: Server, home: Path) -> Iterator[httpx.Client]:
    """Nothing is connected or cached before and after a test."""
    yield server.http
    leave_all(server.http)
    wait_until(lambda: ok(server.http.get("/api/runs")) == [], "no remote runs")
    shutil.rmtree(home / ".runicorn_remote_cache", ignore_errors=True)


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd_or_skip(home=tmp_path_factory.mktemp("remote-home")) as server:
        yield server


@pytest.fixture(scope="module")
def files_only(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A server that runs no commands, whatever is asked: neither a shell nor Python."""
    home = tmp_path_factory.mktemp("files-only")
    with sshd_or_skip(home=home, extra_config=["ForceCommand internal-sftp"]) as server:
        yield server


@pytest.fixture
def there(tmp_path: Path) -> Path:
    root = tmp_path / "there"
    write_run(root, status="running", hostname="elsewhere", pid=1)
    write_version(root, 1)
    return root


def write_version(root: Path, version: int) -> Path:
    directory = root / "artifacts/model/net" / f"v{version}"
    directory.mkdir(parents=True)
    content = {"name": "net", "type": "model", "version": version, "size_bytes": 10}
    (directory / "metadata.json").write_text(json.dumps(content))
    (directory / "manifest.json").write_text(json.dumps({"files": []}))
    index = {
        "artifact_name": "net",
        "versions": [{"version": version, "status": "ready", "aliases": []}],
        "aliases": {},
    }
    (directory.parent / "versions.json").write_text(json.dumps(index))
    return directory


def show(http: httpx.Client, sshd: Sshd, root: Path) -> Any:
    return ok(http.post(REMOTE, json=body_for(REMOTE, **login_to(sshd, remote_root=str(root)))))


def remote_status(http: httpx.Client) -> Any:
    return ok(http.get("/api/remote/status"))


def synced(http: httpx.Client) -> Any:
    """A sync from now; its progress."""
    assert ok(http.post("/api/remote/sync"))["started"] is True
    wait_until(lambda: remote_status(http)["sync_progress"]["status"] != "running")
    progress = remote_status(http)["sync_progress"]
    assert (progress["status"], progress["errors"]) == ("completed", [])
    return progress


def bytes_of(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".runicorn" not in path.parts and path.name != ".lock"
    }


# ── what a sync sees ────────────────────────────────────────────────────────


@pytest.mark.parametrize("clock_s", [0, DAY_S, -DAY_S])
@pytest.mark.parametrize("kind", ["sshd", "files_only"])
def test_every_change_arrives_whatever_the_clock_of_the_server_says(
    request: pytest.FixtureRequest, http: httpx.Client, there: Path, kind: str, clock_s: int
) -> None:
    tick_ns = int(time.time() + clock_s) * 10**9

    def write(path: Path, text: str, at_ns: int) -> None:
        path.write_text(text)
        os.utime(path, ns=(at_ns, at_ns))

    for path in there.rglob("*"):
        os.utime(path, ns=(tick_ns - 10**10, tick_ns - 10**10))
    summary = there / RUN / "summary.json"
    write(summary, '{"a": 1}', tick_ns)
    metadata = Path(show(http, request.getfixturevalue(kind), there)["cache_dir"]) / "metadata"
    copies = metadata / "experiments" / RUN
    synced(http)
    assert (copies / "summary.json").read_text() == '{"a": 1}'
    write(summary, '{"a": 2}', tick_ns + 1000)  # as long, and within the same second
    synced(http)
    assert (copies / "summary.json").read_text() == '{"a": 2}'
    write(summary, '{"a": 3}', tick_ns - 3600 * 10**9)  # an older file was put in its place
    (there / RUN / ".deleted").write_text('{"deleted_at": 1736868700.0, "reason": "user"}')
    write_version(there, 2)
    synced(http)
    assert (copies / "summary.json").read_text() == '{"a": 3}'
    assert (copies / ".deleted").exists()
    assert remote_status(http)["stats"]["cached_artifacts"] == 2
    (there / RUN / ".deleted").unlink()
    shutil.rmtree(there / "artifacts/model/net/v1")
    synced(http)
    assert not (copies / ".deleted").exists()
    assert not (metadata / "artifacts/model/net/v1").exists()
    assert remote_status(http)["stats"]["cached_artifacts"] == 1
    shutil.rmtree(there / RUN)
    synced(http)
    assert not copies.exists()
    assert remote_status(http)["stats"]["cached_experiments"] == 0
    wait_until(lambda: synced(http)["total_files"] == 0, "nothing to fetch")
    before = remote_status(http)["stats"]["last_sync"]
    assert (progress := synced(http))["total_files"] == progress["synced_bytes"] == 0
    assert remote_status(http)["stats"]["last_sync"] > before


@pytest.mark.parametrize("kind", ["sshd", "files_only"])
def test_a_change_within_the_second_of_two_syncs_arrives(
    request: pytest.FixtureRequest, http: httpx.Client, there: Path, kind: str
) -> None:
    """As long as before, with the same time: both syncs have come too early."""
    tick_ns = int(time.time()) * 10**9
    summary = there / RUN / "summary.json"
    copy = None
    for content in ('{"a": 1}', '{"a": 2}', '{"a": 3}'):
        summary.write_text(content)
        os.utime(summary, ns=(tick_ns, tick_ns))
        if copy is None:
            cache = Path(show(http, request.getfixturevalue(kind), there)["cache_dir"])
            copy = cache / "metadata" / "experiments" / RUN / "summary.json"
        synced(http)

    def has_arrived() -> bool:
        synced(http)
        return copy.read_text() == summary.read_text()

    assert copy is not None
    wait_until(has_arrived, "the last content")
    wait_until(lambda: synced(http)["total_files"] == 0, "nothing to fetch")
    assert copy.read_text() == summary.read_text()


def test_ports_users_and_roots_have_caches_of_their_own(home: Path, http: httpx.Client) -> None:
    with (
        ParamikoServer(password=PASSWORD, files=LockedFiles) as one,
        ParamikoServer(password=PASSWORD, files=LockedFiles) as two,
    ):
        places = [(one, "me", "~/a"), (two, "me", "~/a"), (one, "you", "~/a"), (one, "me", "~/b"), (one, "me", "~/a/")]
        found: list[str] = []
        for machine, username, root in places:
            fields = {"port": machine.port, "username": username, "remote_root": root, "password": PASSWORD}
            found.append(ok(http.post(REMOTE, json=body_for(REMOTE, **fields)))["cache_dir"])
        leave_all(http)
    assert found[4] == found[0]
    assert len(set(found)) == 4
    assert sorted((home / ".runicorn_remote_cache").iterdir()) == sorted(Path(cache) for cache in set(found))
    assert {path.stat().st_mode & 0o777 for path in (home / ".runicorn_remote_cache").iterdir()} == {0o700}


# ── reading meanwhile, and afterwards ───────────────────────────────────────


class Gate:
    """A server whose run has a summary that can be held back."""

    def __init__(self) -> None:
        self.is_open = threading.Event()
        self.is_open.set()
        self.summary = b'{"a": 1}'
        self.root = {
            "meta.json": Entry(json.dumps({"id": RUN_ID, "created_at": 1736868645.0, "hostname": "there"}).encode()),
            "status.json": Entry(b'{"status": "running", "started_at": 1736868645.0}'),
            "summary.json": Entry(self._read, size=lambda: len(self.summary)),
            "events.jsonl": Entry(
                b'{"ts": 1736868645.0, "type": "metrics", "data": {"loss": 1.0, "global_step": 1}}\n'
            ),
            "logs.txt": Entry(b"15:30:45 | hello\n"),
        }
        version = {"name": "net", "type": "model", "version": 1, "size_bytes": 10}
        index = {"artifact_name": "net", "versions": [{"version": 1, "status": "ready", "aliases": []}], "aliases": {}}
        net = {"metadata.json": Entry(json.dumps(version).encode()), "manifest.json": Entry(b'{"files": []}')}
        self.tree: dict[str, dict[str, Entry]] = {f"/data/{RUN}": self.root, "/data/artifacts/model/net/v1": net}
        self.tree["/data/artifacts/model/net"] = {"versions.json": Entry(json.dumps(index).encode())}
        for path in list(self.tree):
            while path != "/data":
                path, _, name = path.rpartition("/")
                self.tree.setdefault(path, {})[name] = Entry(mode=DIRECTORY)

    def _read(self, offset: int, length: int) -> bytes:
        assert self.is_open.wait(60)
        return self.summary[offset : offset + length]


READS = [
    "/api/runs",
    f"/api/runs/{RUN_ID}",
    f"/api/runs/{RUN_ID}/metrics",
    f"/api/runs/{RUN_ID}/metrics_step",
    f"/api/runs/{RUN_ID}/artifacts",
    "/api/projects",
    "/api/projects/vision/names",
    "/api/v2/experiments",
    "/api/artifacts",
    "/api/artifacts/stats",
    "/api/artifacts/net/versions",
    "/api/artifacts/net/v1",
    "/api/artifacts/net/v1/files",
    "/api/artifacts/net/v1/lineage",
    "/api/remote/status",
    "/api/remote/mode",
    "/api/remote/downloads",
    "/api/unified/status",
    "/api/ssh/sessions",
    "/api/ssh/mirror/list",
]


def read_everything(http: httpx.Client) -> None:
    for path in READS:
        answer = http.get(path)
        assert answer.status_code == 200, (path, answer.text)
        assert "not connected" not in answer.text.lower(), path
    assert [run["id"] for run in ok(http.get("/api/runs"))] == [RUN_ID]
    assert len(ok(http.get(f"/api/runs/{RUN_ID}/metrics_step"))["rows"]) == 1
    assert [item["name"] for item in ok(http.get("/api/artifacts"))] == ["net"]


def test_everything_is_readable_during_a_sync_after_a_loss_and_without_a_connection(http: httpx.Client) -> None:
    gate = Gate()
    with ParamikoServer(password=PASSWORD, files=serving(gate.tree)) as machine:
        fields = {"port": machine.port, "password": PASSWORD, "remote_root": "/data"}
        ok(http.post(REMOTE, json=body_for(REMOTE, **fields)))
        synced(http)
        wait_until(lambda: [run["id"] for run in ok(http.get("/api/runs"))] == [RUN_ID])
        wait_until(lambda: len(ok(http.get(f"/api/runs/{RUN_ID}/metrics_step"))["rows"]) == 1)
        last_sync = remote_status(http)["stats"]["last_sync"]
        gate.is_open.clear()
        gate.summary = b'{"a": 22}'
        assert ok(http.post("/api/remote/sync"))["started"] is True
        wait_until(lambda: remote_status(http)["sync_progress"]["total_files"] > 0, "files to be brought")
        read_everything(http)
        status = remote_status(http)
        assert (status["status"], status["connected"], status["sync_progress"]["status"]) == (
            "syncing",
            True,
            "running",
        )
        assert ok(http.get("/api/remote/verify"))["connected"] is True
        again = ok(http.post("/api/remote/sync"))
        assert (again["message"], again["started"]) == ("Metadata sync already running", False)
    gate.is_open.set()
    wait_until(lambda: remote_status(http)["sync_progress"]["status"] == "failed", "the end of the sync")
    status = remote_status(http)
    assert (status["status"], status["connected"], status["stats"]["connected"]) == ("error", False, False)
    assert (status["mode"], status["stats"]["last_sync"]) == ("remote", last_sync)
    assert status["sync_progress"]["errors"] == ["Connection to the remote server was lost"]
    assert ok(http.get("/api/remote/verify")) == {"connected": False, "error": "Not connected to remote server"}
    read_everything(http)
    ok(http.post("/api/remote/disconnect"))
    wait_until(lambda: ok(http.get("/api/runs")) == [], "local runs only")
    ok(http.post("/api/remote/mode/switch", json={"mode": "remote"}))
    wait_until(lambda: [run["id"] for run in ok(http.get("/api/runs"))] == [RUN_ID])
    read_everything(http)


# ── downloads, labels, words ────────────────────────────────────────────────


def test_two_downloads_run_at_a_time_and_a_cancelled_or_cut_one_has_ended(
    http: httpx.Client, tmp_path: Path, there: Path
) -> None:
    for version in (2, 3, 4):
        files = write_version(there, version) / "files"
        files.mkdir()
        with (files / "w.bin").open("wb") as file:
            file.truncate(8 << 30)
        entry = {"path": "w.bin", "size": 8 << 30, "digest": "sha256:" + "0" * 64}
        (files.parent / "manifest.json").write_text(json.dumps({"files": [entry]}))
    with sshd_or_skip(home=tmp_path / "remote-home") as sshd:
        cache = Path(show(http, sshd, there)["cache_dir"])
        synced(http)
        tasks = [ok(http.post(f"/api/remote/download/net/v{version}"))["task_id"] for version in (2, 3, 4)]

        def status(task: str) -> Any:
            return ok(http.get(f"/api/remote/download/{task}/status"))

        wait_until(lambda: all(status(task)["downloaded_bytes"] > 0 for task in tasks[:2]))
        assert (status(tasks[2])["status"], status(tasks[2])["downloaded_bytes"]) == ("running", 0)
        assert ok(http.get("/api/remote/downloads"))["active_count"] == 3
        started = time.monotonic()
        assert ok(http.delete(f"/api/remote/download/{tasks[0]}"))["ok"] is True
        assert time.monotonic() - started < CANCELLED_S
        assert (status(tasks[0])["status"], status(tasks[0])["error"]) == ("failed", "Cancelled by user")
        wait_until(lambda: status(tasks[2])["downloaded_bytes"] > 0, "the third download")
        again = failure(http.delete(f"/api/remote/download/{tasks[0]}"))
        assert again[:2] == (404, "Task not found or already completed")
        sshd.kill()
        for task in tasks[1:]:
            wait_until(lambda task=task: status(task)["status"] == "failed")
            assert status(task)["error"] == "Failed to download w.bin: Connection lost"
        assert status(tasks[0])["error"] == "Cancelled by user"
        assert not [path for path in cache.rglob("*") if path.suffix == ".part" or path.name == "w.bin"]


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("/x", "contains invalid characters or patterns"),
        ("..", "contains invalid characters or patterns"),
        ("a/../../b", "contains invalid characters or patterns"),
        ("C:x", "contains invalid characters or patterns"),
        ("a\\b", "contains invalid characters or patterns"),
        ("a\0b", "contains forbidden characters"),
        ("a\nb", "contains forbidden characters"),
        *((f"a{character}", "contains forbidden characters") for character in '<>|*?"'),
        ("a" * 241, "too long: 241 characters"),
        ("ü" * 128, "too long: 128 characters"),
    ],
)
def test_a_target_that_cannot_be_one_is_refused(
    server: Server, http: httpx.Client, sshd: Sshd, there: Path, target: str, reason: str
) -> None:
    show(http, sshd, there)
    synced(http)
    before = bytes_of(server.root)
    answer = http.post("/api/remote/download/net/v1", json={"target_dir": target})
    assert failure(answer)[:2] == (400, f"Invalid target directory: Path {reason}")
    assert bytes_of(server.root) == before


def test_labels_are_set_where_the_server_runs_nothing(http: httpx.Client, files_only: Sshd, there: Path) -> None:
    index = there / "artifacts/model/net/versions.json"
    show(http, files_only, there)
    synced(http)
    url = "/api/remote/artifacts/net/v1"
    ok(http.post(f"{url}/alias", json={"alias": "best"}))
    ok(http.post(f"{url}/tags", json={"tags": ["a"]}))
    for version in ("v3", "V12"):
        answer = http.post(f"{url}/alias", json={"alias": version})
        assert failure(answer)[:2] == (400, f"An alias must not look like a version: {version}")
    assert json.loads(index.read_text())["aliases"] == {"best": 1, "latest": 1}
    assert json.loads((index.parent / "v1/metadata.json").read_text())["tags"] == ["a"]


WORDS: list[Callable[[str], str]] = [
    lambda path: f"it's; touch {path}",
    lambda path: f'"; touch {path}; "',
    lambda path: f"$(touch {path})",
    lambda path: f"`touch {path}`",
    lambda path: f"a\ntouch {path}\n",
    lambda path: f"| touch {path} & #",
    lambda path: f"../../../../../../../..{path}",
    lambda path: f"-exec touch {path} ;",
]


@pytest.mark.parametrize("word", WORDS)
def test_words_that_a_shell_would_obey_do_nothing(
    server: Server, home: Path, http: httpx.Client, sshd: Sshd, there: Path, tmp_path: Path, word: Callable[[str], str]
) -> None:
    oops = word(str(tmp_path / "oops"))
    show(http, sshd, there)
    synced(http)
    ok(http.post(UNIFIED, json=login_to(sshd)))
    before = bytes_of(there)
    caches = sorted((home / ".runicorn_remote_cache").rglob("*"))
    refused = [
        http.post("/api/unified/configure_mode", json={"mode": "smart", "remote_root": oops}),
        http.post("/api/unified/configure_mode", json={"mode": "mirror", "remote_root": oops}),
        http.post("/api/unified/configure_mode", json={"mode": oops, "remote_root": str(there)}),
        http.get("/api/unified/listdir", params={"path": oops}),
        http.post(REMOTE, json=body_for(REMOTE, **login_to(sshd, remote_root=oops))),
        http.post(REMOTE, json=body_for(REMOTE, **login_to(sshd, remote_root=str(there), host=oops))),
        http.post(UNIFIED, json=login_to(sshd, host=oops)),
        http.post("/api/remote/artifacts/net/v1/alias", params={"type": oops}, json={"alias": "a"}),
        http.post("/api/remote/artifacts/net/v1/tags", params={"type": oops}, json={"tags": ["a"]}),
        http.post("/api/remote/download/net/v1", params={"type": oops}),
        http.post("/api/remote/artifacts/net/v1/alias", json={"alias": oops}),  # all have a slash or a space
        http.get("/api/artifacts/net/v1", params={"type": oops}),
    ]
    assert {answer.status_code for answer in refused} <= {400, 404}
    assert bytes_of(there) == before
    assert sorted((home / ".runicorn_remote_cache").rglob("*")) == caches
    tagged = http.post("/api/remote/artifacts/net/v1/tags", json={"tags": [oops]})
    changed = bytes_of(there)
    if tagged.status_code == 200:
        assert json.loads(changed.pop("artifacts/model/net/v1/metadata.json"))["tags"] == [oops]
        before.pop("artifacts/model/net/v1/metadata.json")
    else:
        assert failure(tagged)[0] == 400
        assert "\n" in oops
    assert changed == before
    for directory in (tmp_path, home, Path.cwd()):
        assert not list(directory.glob("oops*"))


def test_local_artifacts_are_not_touched_by_what_is_done_to_those_of_a_server(
    server: Server, http: httpx.Client, sshd: Sshd, there: Path
) -> None:
    write_version(server.root, 1)
    mine = server.root / "artifacts/model/mine/v1"
    shutil.copytree(server.root / "artifacts/model/net/v1", mine)
    before = bytes_of(server.root / "artifacts")
    try:
        show(http, sshd, there)
        synced(http)
        unknown = "Artifact not found in cache: mine. Please sync metadata first."
        assert failure(http.post("/api/remote/download/mine/v1"))[:2] == (404, unknown)
        for label, body in (("alias", {"alias": "a"}), ("tags", {"tags": ["a"]})):
            answer = http.post(f"/api/remote/artifacts/mine/v1/{label}", json=body)
            assert failure(answer)[:2] == (400, "Artifact type not found for: mine")
            ok(http.post(f"/api/remote/artifacts/net/v1/{label}", json=body))
        for call in ("/mine/v1", "/mine/v1?permanent=true"):
            assert http.request("DELETE", f"/api/artifacts{call}").status_code in (400, 404)
        ok(http.request("DELETE", "/api/artifacts/net/v1"))
        assert (there / "artifacts/model/net/v1/.deleted").exists()
        ok(http.request("DELETE", "/api/artifacts/net/v1?permanent=true"))
        ok(http.post("/api/remote/cache/clear"))
        ok(http.post("/api/remote/disconnect"))
        assert bytes_of(server.root / "artifacts") == before
    finally:
        shutil.rmtree(server.root / "artifacts")
