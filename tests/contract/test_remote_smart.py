"""Smart mode: a real server of ours, real SSH servers, real HTTP."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from tests.contract.test_remote import failure, login, ok
from tests.plugins.remote.mirroring import RUN, write_run
from tests.serving import Server, wait_until
from tests.sshd import Sshd

RUN_ID = RUN.rpartition("/")[2]


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


@pytest.fixture
def http(server: Server, home: Path) -> Iterator[httpx.Client]:
    """Nothing is connected or cached before and after a test."""
    yield server.http
    server.http.post("/api/remote/disconnect")
    server.http.post("/api/remote/mode/switch", json={"mode": "local"})
    server.http.post("/api/unified/disconnect", json={"force": True})
    wait_until(lambda: ok(server.http.get("/api/runs")) == [], "no remote runs")
    shutil.rmtree(home / ".runicorn_remote_cache", ignore_errors=True)


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    """A root with a running run and an artifact; its name is none that a shell would like."""
    root = tmp_path / "a 'remote' root; $(touch oops)"
    write_run(root, status="running", hostname="elsewhere", pid=1)
    write_version(root, 1)
    return root


def write_version(root: Path, version: int, **metadata: object) -> Path:
    directory = root / "artifacts" / "model" / "net" / f"v{version}"
    directory.mkdir(parents=True)
    content = {"name": "net", "type": "model", "version": version, "size_bytes": 10, **metadata}
    (directory / "metadata.json").write_text(json.dumps(content))
    (directory / "manifest.json").write_text(json.dumps({"files": []}))
    return directory


def connected(http: httpx.Client, sshd: Sshd, root: Path, **fields: object) -> Any:
    return ok(http.post("/api/remote/connect", json=login(sshd, remote_root=str(root), **fields)))


def synced(http: httpx.Client) -> Any:
    """A sync that began after this call has been completed; its progress."""

    def status() -> Any:
        return ok(http.get("/api/remote/status"))

    wait_until(lambda: (status()["sync_progress"] or {"status": "idle"})["status"] != "running", f"{status()}")
    assert ok(http.post("/api/remote/sync"))["started"] is True
    wait_until(lambda: status()["sync_progress"]["status"] != "running", f"{status()}")
    progress = status()["sync_progress"]
    assert progress["status"] == "completed", progress
    return progress


def listed(http: httpx.Client) -> dict[str, Any]:
    return {run["id"]: run for run in ok(http.get("/api/runs"))}


def cache_of(home: Path) -> Path:
    (cache,) = (home / ".runicorn_remote_cache").iterdir()
    return cache


@pytest.mark.slow(4)
def test_the_flow_of_the_web_page_shows_remote_runs_whose_metrics_and_logs_grow(
    server: Server, http: httpx.Client, sshd: Sshd, remote: Path
) -> None:
    source = ok(http.post("/api/unified/connect", json=login(sshd)))["connection_id"]
    answer = ok(http.post("/api/unified/configure_mode", json={"mode": "smart", "remote_root": f"{remote}/"}))
    config = {"remote_root": str(remote), "auto_sync": True, "sync_interval_minutes": 5}
    message = "Smart mode configured successfully"
    assert answer == {"ok": True, "mode": "smart", "remote_root": str(remote), "message": message, "config": config}
    assert ok(http.post("/api/remote/sync"))["ok"] is True
    wait_until(lambda: RUN_ID in listed(http), "the remote run", timeout_s=10)

    run = listed(http)[RUN_ID]
    wait_until(lambda: listed(http)[RUN_ID]["status"] == "running")
    wait_until(lambda: listed(http)[RUN_ID].get("source") == source)
    assert (run["project"], run["name"]) == ("vision", "resnet")
    status = ok(http.get("/api/unified/status"))
    assert status["modes"]["smart"] == {"active": True, "remote_root": str(remote)}
    assert status["smart_mode"]["next_sync_at"] > status["smart_mode"]["last_sync_at"]
    assert (status["cached_experiments"], status["cached_artifacts"], status["reference_count"]) == (1, 1, 1)

    def steps() -> int:
        return len(ok(http.get(f"/api/runs/{RUN_ID}/metrics_step"))["rows"])

    wait_until(lambda: steps() == 3)
    with (remote / RUN / "events.jsonl").open("a") as events:
        events.write('{"ts": 1736868650.0, "type": "metrics", "data": {"loss": 0.1, "global_step": 9}}\n')
    wait_until(lambda: steps() == 4)
    (remote / RUN / "status.json").write_text('{"status": "finished", "ended_at": 1736868700.0}')
    wait_until(lambda: ok(http.get(f"/api/runs/{RUN_ID}"))["status"] == "finished")
    assert Path(ok(http.get(f"/api/runs/{RUN_ID}"))["logs"]).read_text() == "15:30:45 | hello\n"
    assert not (remote.parent / "oops").exists()

    busy = ok(http.post("/api/unified/disconnect"))
    assert (busy["ok"], busy["smart_active"], busy["mirror_active"]) == (False, True, False)
    assert ok(http.post("/api/unified/deactivate_mode", json={"mode": "smart"}))["message"] == "Smart mode deactivated"
    wait_until(lambda: listed(http) == {}, "local runs only")
    assert ok(http.get("/api/unified/status"))["smart_mode"] == {"active": False, "remote_root": None}
    assert ok(http.get("/api/unified/status"))["modes"]["smart"] == {"active": False, "remote_root": None}

    assert ok(http.post("/api/unified/disconnect"))["ok"] is True
    assert sshd.wait_idle()
    ok(http.post("/api/remote/mode/switch", json={"mode": "remote"}))
    wait_until(lambda: RUN_ID in listed(http), "the run in the cache")
    wait_until(lambda: steps() == 4)
    status = ok(http.get("/api/remote/status"))
    assert (status["mode"], status["connected"], status["stats"]["cached_experiments"]) == ("remote", False, 1)
    assert ok(http.get("/api/remote/mode")) == {"mode": "remote", "remote_available": True, "remote_connected": False}


def test_media_and_the_live_log_are_brought_when_they_are_asked_for(
    home: Path, http: httpx.Client, sshd: Sshd, remote: Path, tmp_path: Path
) -> None:
    media = remote / RUN / "media"
    media.mkdir()
    (media / "1_a.png").write_bytes(b"a picture")
    (tmp_path / "secret").write_text("not below the root")
    (media / "2_b.png").symlink_to(tmp_path / "secret")
    connected(http, sshd, remote)
    wait_until(lambda: RUN_ID in listed(http))
    url = f"/api/runs/{RUN_ID}/media"
    assert http.get(f"{url}/1_a.png").content == b"a picture"
    (media / "1_a.png").write_bytes(b"another picture")
    assert http.get(f"{url}/1_a.png").content == b"another picture"
    for name in ("2_b.png", "missing.png"):
        assert http.get(f"{url}/{name}").status_code == 404
    assert not list(cache_of(home).rglob("2_b.png"))
    address = str(http.base_url).replace("http", "ws").rstrip("/") + f"/api/runs/{RUN_ID}/logs/ws"
    with connect(address, open_timeout=20) as socket:
        assert "hello" in str(socket.recv(timeout=20))
        with (remote / RUN / "logs.txt").open("a") as log:
            log.write("15:30:46 | later\n")
        assert "later" in str(socket.recv(timeout=20))


def test_remote_connect_says_what_it_found_and_disconnect_leaves_only_the_cache(
    server: Server, home: Path, http: httpx.Client, sshd: Sshd, remote: Path
) -> None:
    answer = connected(http, sshd, remote, auto_sync=False)
    assert answer["structure_verified"] == {
        "artifacts_exists": True,
        "has_model": True,
        "has_experiments": True,
        **dict.fromkeys(("has_dataset", "has_config", "has_code", "has_custom"), False),
    }
    assert answer["cache_dir"] == str(cache_of(home))
    assert cache_of(home).stat().st_mode & 0o777 == 0o700
    status = ok(http.get("/api/remote/status"))
    assert (status["mode"], status["status"], status["sync_progress"]) == ("remote", "connected", None)
    assert ok(http.get("/api/unified/status"))["connected"] is False
    progress = synced(http)
    assert (progress["synced_files"], progress["total_files"], progress["progress_percent"]) == (4, 4, 100.0)
    stats = ok(http.get("/api/remote/status"))["stats"]
    assert (stats["cached_experiments"], stats["cached_artifacts"], stats["remote_size_bytes"]) == (1, 1, 10)
    copy = cache_of(home) / "metadata/experiments" / RUN / "meta.json"
    assert copy.read_bytes() == (remote / RUN / "meta.json").read_bytes()
    assert ok(http.get("/api/remote/verify")) == {
        "connected": True,
        "structure": answer["structure_verified"],
        "adapter_status": "connected",
    }
    assert ok(http.post("/api/remote/disconnect"))["status"] == "disconnected"
    assert sshd.wait_idle()
    assert not list((server.root / ".mirrors").glob("*/attached"))
    assert copy.exists()
    gone = {"mode": "local", "connected": False, "status": "disconnected", "sync_progress": None, "stats": None}
    assert ok(http.get("/api/remote/status")) == gone


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"host": " "}, "Host is required"),
        ({"username": ""}, "Username is required"),
        ({"port": 70000}, "Invalid port: 70000"),
        ({"remote_root": ""}, "Remote root directory is required"),
        ({"private_key_path": None}, "At least one authentication method is required"),
        ({"sync_interval_minutes": 0}, "sync_interval_minutes must be between 1 and 1440"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused_and_nothing_is_made(
    http: httpx.Client, home: Path, fields: dict[str, object], reason: str
) -> None:
    address: dict[str, object] = {"host": "127.0.0.1", "port": 9, "username": "me", "private_key_path": "/nowhere"}
    wanted = {**address, "use_agent": False, "remote_root": "/data", **fields}
    assert failure(http.post("/api/remote/connect", json=wanted))[:2] == (400, f"Invalid configuration: {reason}")
    assert not (home / ".runicorn_remote_cache").exists()


def test_a_root_that_is_missing_changes_nothing(http: httpx.Client, home: Path, sshd: Sshd, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    answer = http.post("/api/remote/connect", json=login(sshd, remote_root=missing))
    assert failure(answer) == (404, f"Remote path not found: {missing}", "not_found")
    assert sshd.wait_idle()
    assert not (home / ".runicorn_remote_cache").exists()
    assert failure(http.post("/api/remote/mode/switch", json={"mode": "remote"})) == (
        400,
        "Cannot switch to remote mode: not connected. Please connect first.",
        "not_connected",
    )


@pytest.mark.parametrize("call", ["sync", "disconnect", "cache/clear", "cache/cleanup"])
def test_without_an_adapter_calls_say_so(http: httpx.Client, call: str) -> None:
    assert failure(http.post(f"/api/remote/{call}")) == (400, "Not connected to remote server", "not_connected")
    assert ok(http.get("/api/remote/verify")) == {"connected": False, "error": "Not connected to remote server"}


def test_modes_are_checked(http: httpx.Client, sshd: Sshd) -> None:
    answer = http.post("/api/remote/mode/switch", json={"mode": "cloud"})
    assert failure(answer)[:2] == (400, "Invalid mode: cloud. Must be 'local' or 'remote'")
    ok(http.post("/api/unified/connect", json=login(sshd)))
    wanted = {"mode": "smart", "remote_root": "~"}
    answer = http.post("/api/unified/configure_mode", json={**wanted, "sync_interval_minutes": 0})
    detail = "Invalid value for sync_interval_minutes: must be between 1 and 1440"
    assert failure(answer)[:2] == (400, detail)
    answer = http.post("/api/unified/configure_mode", json={"mode": "smart"})
    assert failure(answer)[:2] == (400, "remote_root is required for smart mode")


def test_whatever_changes_on_the_server_is_there_after_the_next_sync_and_nothing_else_is_fetched(
    home: Path, http: httpx.Client, sshd: Sshd, remote: Path
) -> None:
    connected(http, sshd, remote, auto_sync=False)
    synced(http)
    # What was young is looked at once more, when its second is over.
    wait_until(lambda: synced(http)["total_files"] == 0, "nothing to fetch")
    metadata = cache_of(home) / "metadata"
    summary = remote / RUN / "summary.json"
    summary.write_text('{"a": 1}')
    synced(http)
    summary.write_text('{"a": 2}')  # as long, and within the same second
    os.utime(summary, (1e9, 1e9))  # older than before
    assert synced(http)["synced_files"] >= 1
    assert (metadata / "experiments" / RUN / "summary.json").read_text() == '{"a": 2}'

    (remote / RUN / ".deleted").write_text('{"deleted_at": 1736868700.0, "reason": "user"}')
    write_version(remote, 2)
    synced(http)
    wait_until(lambda: RUN_ID not in listed(http), "the deletion", timeout_s=30)
    assert ok(http.get("/api/remote/status"))["stats"]["cached_artifacts"] == 2
    (remote / RUN / ".deleted").unlink()
    shutil.rmtree(remote / "artifacts/model/net/v1")
    synced(http)
    wait_until(lambda: RUN_ID in listed(http), "the restored run", timeout_s=30)
    assert ok(http.get("/api/remote/status"))["stats"]["cached_artifacts"] == 1
    assert not (metadata / "artifacts/model/net/v1/metadata.json").exists()
    shutil.rmtree(remote / RUN)
    synced(http)
    wait_until(lambda: RUN_ID not in listed(http), "the end of the run", timeout_s=30)
    assert ok(http.get("/api/remote/status"))["stats"]["cached_experiments"] == 0


def test_a_local_run_of_the_same_id_is_meant_and_remote_ones_are_not_changed(
    server: Server, http: httpx.Client, sshd: Sshd, remote: Path
) -> None:
    other = "vision/resnet/runs/20250114_153045_a1b2c4"
    write_run(remote, other)
    local = write_run(server.root, other, events=1)
    try:
        connected(http, sshd, remote)
        wait_until(lambda: RUN_ID in listed(http))
        assert ok(http.get(f"/api/runs/{local.name}"))["run_dir"] == str(local)
        assert len(ok(http.get(f"/api/runs/{local.name}/metrics_step"))["rows"]) == 1
        refusal = f"Run belongs to a remote server and is read-only: {RUN_ID}"
        deleted = ok(http.post("/api/runs/soft-delete", json={"run_ids": [RUN_ID]}))
        assert deleted["results"][RUN_ID] == {"success": False, "error": refusal}
        tagged = http.post("/api/experiments/tag", json={"run_id": RUN_ID, "tags": ["mine"]})
        assert failure(tagged)[:2] == (409, refusal)
        assert not (remote / RUN / ".deleted").exists()
    finally:
        shutil.rmtree(local)


def test_a_lost_connection_fails_the_sync_and_leaves_the_runs_readable(
    http: httpx.Client, sshd: Sshd, remote: Path
) -> None:
    connected(http, sshd, remote)
    wait_until(lambda: RUN_ID in listed(http))
    wait_until(lambda: len(ok(http.get(f"/api/runs/{RUN_ID}/metrics_step"))["rows"]) == 3)
    sshd.kill()
    wait_until(lambda: ok(http.get("/api/remote/status"))["connected"] is False)
    assert ok(http.get("/api/remote/status"))["status"] == "error"
    assert failure(http.post("/api/remote/sync")) == (400, "Remote connection is not active", "not_connected")
    assert len(ok(http.get(f"/api/runs/{RUN_ID}/metrics_step"))["rows"]) == 3
    assert ok(http.get("/api/remote/verify"))["connected"] is False
    sshd.restart()
    wait_until(lambda: ok(http.get("/api/remote/status"))["connected"] is True, "the connection", timeout_s=30)


@pytest.mark.slow
def test_a_refused_login_is_not_tried_again_until_somebody_logs_in(
    http: httpx.Client, sshd: Sshd, remote: Path
) -> None:
    ok(http.post("/api/unified/connect", json=login(sshd)))
    ok(http.post("/api/unified/configure_mode", json={"mode": "smart", "remote_root": str(remote)}))
    wait_until(lambda: RUN_ID in listed(http))
    fingerprint = sshd.change_host_key()

    def last_error() -> str:
        return ok(http.get("/api/unified/status"))["last_error"] or ""

    wait_until(lambda: "does not match" in last_error(), "the changed host key", timeout_s=30)
    assert ok(http.get("/api/remote/status"))["status"] == "error"
    attempts = sshd.log.count("Connection from")
    time.sleep(5)  # retries would come after 1, 2 and 4 s
    assert sshd.log.count("Connection from") == attempts
    assert "does not match" in last_error()
    ok(http.post("/api/unified/connect", json=login(sshd, accept_host_key=fingerprint)))
    assert ok(http.get("/api/unified/status"))["last_error"] is None
    assert synced(http)["errors"] == []


@pytest.mark.slow
def test_reading_a_run_of_a_frozen_server_again_and_again_leaves_threads_for_others(
    server: Server, http: httpx.Client, sshd: Sshd, remote: Path
) -> None:
    connected(http, sshd, remote, auto_sync=False)
    synced(http)
    wait_until(lambda: RUN_ID in listed(http))
    wait_until(lambda: len(ok(http.get(f"/api/runs/{RUN_ID}/metrics_step"))["rows"]) == 3)
    time.sleep(2.5)  # what was brought is fresh for 2 s
    sshd.freeze()
    with httpx.Client(base_url=server.url, timeout=60) as patient, ThreadPoolExecutor(30) as threads:
        answers = list(threads.map(lambda _: patient.get(f"/api/runs/{RUN_ID}/metrics_step"), range(30)))
        assert {answer.status_code for answer in answers} == {200}
        # All 24 threads for other machines would be waiting for the server, for 7 s still.
        answer = patient.post("/api/unified/connect", json=login(sshd, port=1), timeout=4)
    sshd.thaw()
    assert failure(answer)[2] == "refused"


def test_other_roots_have_other_caches_and_clearing_one_leaves_it_usable(
    home: Path, http: httpx.Client, sshd: Sshd, remote: Path, tmp_path: Path
) -> None:
    connected(http, sshd, remote, auto_sync=False)
    synced(http)
    cleaned = {"ok": True, "files_removed": 0, "bytes_freed": 0, "message": "Cleaned up 0 old files"}
    assert ok(http.post("/api/remote/cache/cleanup")) == cleaned
    ok(http.post("/api/remote/cache/clear"))
    assert ok(http.get("/api/remote/status"))["stats"]["cached_experiments"] == 0
    assert synced(http)["total_files"] == 4
    (tmp_path / "empty").mkdir()
    assert not any(connected(http, sshd, tmp_path / "empty")["structure_verified"].values())
    assert len(list((home / ".runicorn_remote_cache").iterdir())) == 2
    wait_until(lambda: listed(http) == {}, "the runs of the new root")


# ── downloads ───────────────────────────────────────────────────────────────


def write_files(root: Path, version: int, files: dict[str, bytes], **changes: object) -> Path:
    """A version with files; `changes` replace fields of the first entry of its manifest."""
    directory = write_version(root, version)
    entries: list[dict[str, object]] = []
    for path, data in files.items():
        (directory / "files" / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / "files" / path).write_bytes(data)
        entries.append({"path": path, "size": len(data), "digest": f"sha256:{hashlib.sha256(data).hexdigest()}"})
    entries[0] |= changes
    (directory / "manifest.json").write_text(json.dumps({"files": entries}))
    return directory / "files"


def downloaded(http: httpx.Client, version: int, **body: object) -> Any:
    """A download that has ended."""
    task = ok(http.post(f"/api/remote/download/net/v{version}", json=body))["task_id"]

    def status() -> Any:
        return ok(http.get(f"/api/remote/download/{task}/status"))

    wait_until(lambda: status()["status"] != "running", "the end of the download")
    return status()


def test_a_version_is_downloaded_verified_and_continued(
    server: Server, home: Path, http: httpx.Client, sshd: Sshd, remote: Path
) -> None:
    files = {"w.bin": os.urandom(3_000_000), "conf/a b.json": b"{}", "empty": b""}
    there = write_files(remote, 2, files)
    connected(http, sshd, remote, auto_sync=False)
    synced(http)
    status = downloaded(http, 2)
    target = cache_of(home) / "downloads/net/v2"
    assert (status["status"], status["error"], status["progress_percent"]) == ("completed", None, 100.0)
    assert (status["downloaded_files"], status["downloaded_bytes"]) == (3, sum(map(len, files.values())))
    assert status["target_dir"] == str(target)
    assert {path: (target / path).read_bytes() for path in files} == files

    (there / "w.bin").unlink()  # what is here is not asked for again
    (target / "conf/a b.json").unlink()
    assert downloaded(http, 2)["status"] == "completed"
    (target / "w.bin").write_bytes(b"?" * len(files["w.bin"]))
    assert downloaded(http, 2)["error"] == "Failed to download w.bin: No such file"
    assert not list(target.rglob("*.part"))

    (there / "w.bin").write_bytes(files["w.bin"])
    status = downloaded(http, 2, target_dir="models/net")
    assert status["target_dir"] == str(server.root / "models/net")
    assert (server.root / "models/net/w.bin").read_bytes() == files["w.bin"]
    shutil.rmtree(server.root / "models")
    listed = ok(http.get("/api/remote/downloads"))
    assert (listed["active_count"], listed["total_count"]) == (0, len(listed["downloads"]))
    assert listed["downloads"][-1]["completed_at"] >= listed["downloads"][-1]["started_at"]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"digest": "sha256:" + "0" * 64}, "Checksum mismatch: expected sha256:000000"),
        ({"size": 3}, "Size mismatch: expected 3, got 4"),
        ({"digest": "crc32:00"}, "Unsupported checksum algorithm: crc32"),
    ],
)
def test_what_is_not_as_the_manifest_says_is_not_installed(
    home: Path, http: httpx.Client, sshd: Sshd, remote: Path, changes: dict[str, object], error: str
) -> None:
    write_files(remote, 2, {"w.bin": b"abcd"}, **changes)
    connected(http, sshd, remote, auto_sync=False)
    synced(http)
    status = downloaded(http, 2)
    assert status["status"] == "failed"
    assert status["error"].startswith(f"Failed to download w.bin: {error}")
    assert not list((cache_of(home) / "downloads").rglob("*w.bin*"))


@pytest.mark.parametrize("path", ["../x", "/x", "a\\..\\b", "a/../../b", "C:x", "", "a\x00b", "./x"])
def test_a_manifest_that_leads_elsewhere_is_refused_before_anything_is_written(
    home: Path, http: httpx.Client, sshd: Sshd, remote: Path, path: str
) -> None:
    write_files(remote, 2, {"w.bin": b"abcd", "other": b"x"}, path=path)
    connected(http, sshd, remote, auto_sync=False)
    synced(http)
    status, detail, code = failure(http.post("/api/remote/download/net/v2"))
    assert (status, code) == (400, "unsafe_path")
    assert detail.startswith("Invalid path in manifest: ")
    assert not (cache_of(home) / "downloads").exists()


def test_a_download_that_cannot_begin_says_why(
    server: Server, http: httpx.Client, sshd: Sshd, remote: Path, tmp_path: Path
) -> None:
    connected(http, sshd, remote, auto_sync=False)
    synced(http)

    def refused(name: str, version: str, **body: object) -> tuple[int, str]:
        return failure(http.post(f"/api/remote/download/{name}/{version}", json=body))[:2]

    unsynced = "Please sync metadata first."
    assert refused("other", "v1") == (404, f"Artifact not found in cache: other. {unsynced}")
    assert refused("net", "v9") == (404, f"Artifact metadata not found in cache: net:v9. {unsynced}")
    assert refused("net", "v0") == (400, "Invalid value for version: must be a positive integer")
    assert refused("net", "v1?type=toy") == (400, "Invalid artifact type: toy")
    (server.root / "link").symlink_to(tmp_path)
    prefix = "Invalid target directory: Path "
    for target, reason in {
        "/x": "contains invalid characters or patterns",
        "a/../../b": "contains invalid characters or patterns",
        "a?": "contains forbidden characters",
        "a" * 241: "too long: 241 characters",
        "link/x": "contains symbolic link: link",
    }.items():
        assert refused("net", "v1", target_dir=target) == (400, prefix + reason)
    (server.root / "link").unlink()
    assert failure(http.get("/api/remote/download/nothing/status"))[:2] == (404, "Download task not found: nothing")
    gone = failure(http.delete("/api/remote/download/nothing"))
    assert gone[:2] == (404, "Task not found or already completed")


def test_a_download_is_cancelled_at_once_and_for_good(home: Path, http: httpx.Client, sshd: Sshd, remote: Path) -> None:
    there = write_files(remote, 2, {"w.bin": b"abcd"})
    with (there / "w.bin").open("wb") as file:
        file.truncate(8 << 30)
    manifest = {"files": [{"path": "w.bin", "size": 8 << 30, "digest": "sha256:" + "0" * 64}]}
    (there.parent / "manifest.json").write_text(json.dumps(manifest))
    connected(http, sshd, remote, auto_sync=False)
    synced(http)
    task = ok(http.post("/api/remote/download/net/v2"))["task_id"]

    def status() -> Any:
        return ok(http.get(f"/api/remote/download/{task}/status"))

    wait_until(lambda: status()["downloaded_bytes"] > 0)
    busy = failure(http.post("/api/remote/download/net/v2"))
    assert busy[:2] == (409, "A download of net:v2 to this directory is already running")
    assert failure(http.post("/api/remote/cache/clear"))[:2] == (409, "A download is running")
    cancelled = ok(http.delete(f"/api/remote/download/{task}"))
    assert cancelled == {"ok": True, "message": f"Download task {task} cancelled"}
    assert (status()["status"], status()["error"]) == ("failed", "Cancelled by user")
    wait_until(lambda: not list(cache_of(home).rglob("*.part")))
    assert not (cache_of(home) / "downloads/net/v2/w.bin").exists()
    ok(http.post("/api/remote/disconnect"))
    assert status()["status"] == "failed"


# ── aliases and tags on the server ──────────────────────────────────────────


def write_index(root: Path, *versions: int) -> Path:
    path = root / "artifacts/model/net/versions.json"
    items = [{"version": version, "status": "ready", "aliases": []} for version in versions]
    path.write_text(json.dumps({"artifact_name": "net", "versions": items, "aliases": {"latest": versions[-1]}}))
    return path


def test_aliases_and_tags_are_written_on_the_server_and_keep_the_modes(
    home: Path, http: httpx.Client, sshd: Sshd, remote: Path
) -> None:
    index = write_index(remote, 1)
    metadata = remote / "artifacts/model/net/v1/metadata.json"
    metadata.chmod(0o640)
    index.chmod(0o664)
    connected(http, sshd, remote, auto_sync=False)
    synced(http)
    url = "/api/remote/artifacts/net/v1"
    answer = ok(http.post(f"{url}/alias", json={"alias": "it's;$(best)"}))
    assert answer == {"ok": True, "message": "Set alias 'it's;$(best)' → net:v1"}
    assert json.loads(index.read_text())["aliases"] == {"latest": 1, "it's;$(best)": 1}
    assert json.loads(index.read_text())["versions"][0]["aliases"] == ["latest", "it's;$(best)"]
    answer = ok(http.post(f"{url}/tags", json={"tags": ["t1", "t 2", "t1"]}))
    assert answer["message"] == "Added tags ['t1', 't 2'] to net:v1"
    ok(http.post(f"{url}/tags?type=model", json={"tags": ["t3", "t1"]}))
    written = json.loads(metadata.read_text())
    assert (written["tags"], written["size_bytes"]) == (["t1", "t 2", "t3"], 10)
    assert (metadata.stat().st_mode & 0o777, index.stat().st_mode & 0o777) == (0o640, 0o664)
    copies = cache_of(home) / "metadata/artifacts/model/net"
    assert (copies / "v1/metadata.json").read_bytes() == metadata.read_bytes()
    assert (copies / "versions.json").read_bytes() == index.read_bytes()
    assert sorted(path.name for path in index.parent.iterdir()) == ["v1", "versions.json"]


def test_parallel_aliases_lose_none(http: httpx.Client, sshd: Sshd, remote: Path) -> None:
    index = write_index(remote, 1)
    connected(http, sshd, remote, auto_sync=False)
    synced(http)
    names = [f"a{number}" for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for answer in pool.map(
            lambda name: http.post("/api/remote/artifacts/net/v1/alias", json={"alias": name}), names
        ):
            ok(answer)
    assert set(json.loads(index.read_text())["aliases"]) == {"latest", *names}


@pytest.mark.parametrize(
    ("place", "body", "status", "detail"),
    [
        ("other/v1/alias", {"alias": "a"}, 400, "Artifact type not found for: other"),
        ("net/v1/alias?type=toy", {"alias": "a"}, 400, "Invalid artifact type: toy"),
        ("net/v0/alias", {"alias": "a"}, 400, "Version must be a positive integer, got: 0"),
        ("net/v1/alias", {"alias": " "}, 400, "Alias must be a non-empty string"),
        ("net/v1/alias", {}, 400, "Alias must be a non-empty string"),
        ("net/v1/alias", {"alias": "../x"}, 400, "Alias contains invalid characters: ../x"),
        ("net/v1/tags", {"tags": []}, 400, "Tags must be a non-empty list"),
        ("net/v1/tags", {"tags": [" "]}, 400, "Invalid tag:  "),
        ("net/v9/alias", {"alias": "a"}, 404, "Artifact version not found: net:v9"),
        ("net/v2/tags", {"tags": ["a"]}, 404, "Artifact version not found: net:v2"),
        ("net/v1/alias", {"alias": "a"}, 503, "Failed to set alias on remote server"),  # there is no index
    ],
)
def test_a_label_that_cannot_be_set_says_why_and_changes_nothing(
    http: httpx.Client, sshd: Sshd, remote: Path, place: str, body: dict[str, object], status: int, detail: str
) -> None:
    (write_version(remote, 2) / ".deleted").write_text("{}")
    before = {path: path.read_bytes() for path in (remote / "artifacts").rglob("*") if path.is_file()}
    connected(http, sshd, remote, auto_sync=False)
    synced(http)
    assert failure(http.post(f"/api/remote/artifacts/{place}", json=body))[:2] == (status, detail)
    assert {path: path.read_bytes() for path in (remote / "artifacts").rglob("*") if path.is_file()} == before


@pytest.mark.slow(4)
def test_a_lock_on_the_server_is_respected_unless_it_is_stale(http: httpx.Client, sshd: Sshd, remote: Path) -> None:
    index = write_index(remote, 1)
    lock = Path(f"{index}.lock")
    connected(http, sshd, remote, auto_sync=False)
    synced(http)
    lock.touch()
    answer = http.post("/api/remote/artifacts/net/v1/alias", json={"alias": "a"}, timeout=30)
    assert failure(answer)[:2] == (409, "Artifact is locked on the remote server")
    long_ago = lock.stat().st_mtime - 120
    os.utime(lock, (long_ago, long_ago))
    ok(http.post("/api/remote/artifacts/net/v1/alias", json={"alias": "a"}))
    assert not lock.exists()
