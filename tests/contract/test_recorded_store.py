"""A store written by 0.4.0 opens as it is, and is not changed by that."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.recorded import RUNS, recorded, run_directories, unpacked, wait_until_live
from tests.reference_metrics import metrics, metrics_step
from tests.serving import Server, serve, wait_until

__all__ = ["recorded", "serve"]

Serve = Callable[..., Server]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on the store, for those who only read."""
    with Server(unpacked(tmp_path_factory.mktemp("read")), "--rate-limit", "off") as server:
        wait_until_live(server)
        yield server


def read(path: Path) -> dict:
    return json.loads(path.read_text()) if path.exists() else {}


def test_every_run_is_listed_with_the_values_of_its_files(reader: Server) -> None:
    listed = {run["run_dir"]: run for run in reader.http.get("/api/runs").json()}

    assert len(listed) == RUNS
    for directory in run_directories(reader.root):
        meta, status, summary = (read(directory / f"{name}.json") for name in ("meta", "status", "summary"))
        run = listed[str(directory)]
        assert run["id"] == directory.name == meta["id"]
        assert (run["project"], run["name"], run["pid"]) == (meta["project"], meta["name"], meta["pid"])
        assert run["created_time"] == meta["created_at"]
        assert run["best_metric_value"] == summary.get("best_metric_value")
        assert run["best_metric_name"] == summary.get("best_metric_name")
        assert run["artifacts_created_count"] == len(read(directory / "artifacts_created.json").get("artifacts", []))
        assert run["artifacts_used_count"] == len(read(directory / "artifacts_used.json").get("artifacts", []))
        # A run that was running is judged by liveness, where this machine has the name of the recorded host.
        if status["status"] != "running":
            assert run["status"] == status["status"]


def test_the_list_is_ordered_by_project_name_and_newest_first(reader: Server) -> None:
    runs = reader.http.get("/api/runs").json()

    expected = sorted(runs, key=lambda run: run["id"], reverse=True)
    expected.sort(key=lambda run: run["created_time"], reverse=True)
    expected.sort(key=lambda run: (run["project"].casefold(), run["name"].casefold()))
    assert [run["id"] for run in runs] == [run["id"] for run in expected]


def test_every_metrics_answer_equals_what_a_simple_reader_computes_from_the_file(reader: Server) -> None:
    for directory in run_directories(reader.root):
        by_step = reader.http.get(f"/api/runs/{directory.name}/metrics_step").json()
        assert by_step == metrics_step(directory / "events.jsonl")
        by_time = reader.http.get(f"/api/runs/{directory.name}/metrics").json()
        assert by_time == metrics(directory / "events.jsonl")


def test_every_log_over_websocket_equals_the_file(reader: Server) -> None:
    for directory in run_directories(reader.root):
        log = directory / "logs.txt"
        if not log.exists():
            continue
        lines = [line for line in log.read_text().split("\n") if line.strip()]
        with connect(f"{reader.url.replace('http', 'ws')}/api/runs/{directory.name}/logs/ws") as socket:
            assert [socket.recv(timeout=5) for _ in lines] == lines


@pytest.mark.slow(2)
def test_serving_changes_no_file_of_the_store(recorded: Path, serve: Serve) -> None:
    def digests() -> dict[str, str]:
        files = (path for path in recorded.rglob("*") if path.is_file())
        names = ((path.relative_to(recorded).as_posix(), path) for path in files)
        return {
            name: hashlib.sha256(path.read_bytes()).hexdigest()
            for name, path in names
            if not name.startswith(".runicorn/") and not name.endswith(".lock")
        }

    # A run that liveness may judge: where this machine has the recorded host's name, its process is gone.
    running = {path for path in run_directories(recorded) if read(path / "status.json")["status"] == "running"}
    judged = {f"{path.relative_to(recorded).as_posix()}/status.json" for path in running}
    before = digests()
    server = serve(recorded, "--rate-limit", "off")
    wait_until_live(server)
    runs = [path.name for path in run_directories(recorded)]
    wait_until(lambda: server.http.get("/api/v2/search?q=step").json()["logs"]["state"] == "ready", "the index")
    asked = ["/api/runs", "/api/v2/experiments?per_page=1000&facets=true", "/api/v2/search?q=step", "/api/artifacts"]
    asked += [f"/api/artifacts/{item['name']}/versions" for item in server.http.get("/api/artifacts").json()]
    for run in runs:
        asked += [f"/api/runs/{run}", f"/api/v2/experiments/{run}", f"/api/v2/experiments/{run}/metrics/fast"]
    for path in asked:
        answer = server.http.get(path)
        assert answer.status_code == 200, f"{path}: {answer.text}"
    compared = server.http.post("/api/v2/metrics/compare", json={"runs": runs[:5]})
    assert compared.status_code == 200, compared.text
    server.stop()

    after = digests()
    assert {name for name in before if before[name] != after.get(name)} <= judged
    assert set(after) == set(before)


@pytest.mark.slow(3)
def test_deleting_the_state_directory_gives_byte_identical_answers(recorded: Path, serve: Serve) -> None:
    def answers() -> dict[str, bytes]:
        server = serve(recorded, "--rate-limit", "off")
        wait_until_live(server)
        server.http.post("/api/status/check")
        found = {"/api/runs": server.http.get("/api/runs").content}
        for directory in run_directories(recorded):
            for path in ("", "/metrics", "/metrics_step"):
                url = f"/api/runs/{directory.name}{path}"
                found[url] = server.http.get(url).content
        server.stop()
        return found

    first = answers()
    shutil.rmtree(recorded / ".runicorn" / "state")
    assert answers() == first


def test_a_root_that_cannot_be_written_is_served_with_another_state_directory(
    recorded: Path, serve: Serve, tmp_path: Path
) -> None:
    import os

    if os.geteuid() == 0:
        # Permissions do not stop root: a file in the place of our directory does.
        (recorded / ".runicorn").write_text("not a directory")
    else:
        recorded.chmod(0o555)
    try:
        server = serve(recorded, "--state-dir", str(tmp_path / "state"))
        wait_until_live(server)
        assert len(server.http.get("/api/runs").json()) == RUNS
        assert all(run["project"] for run in server.http.get("/api/runs").json())
        assert (tmp_path / "state" / "log").is_dir()
        server.stop()
    finally:
        recorded.chmod(0o755)


@pytest.mark.parametrize("change", ["finished by hand", "summary by hand", "deleted", "restored"])
def test_what_0_4_0_changes_in_its_files_is_taken_over(recorded: Path, serve: Serve, change: str) -> None:
    directory = run_directories(recorded)[0]
    marker = directory / ".deleted"
    if change == "restored":
        marker.write_text('{"deleted_at": 1795422200.0, "reason": "user_deleted", "original_status": "finished"}')
    server = serve(recorded, "--rate-limit", "off")
    wait_until_live(server)

    def listed() -> dict:
        return {run["id"]: run for run in server.http.get("/api/runs").json()}

    if change == "finished by hand":
        (directory / "status.json").write_text('{"status": "archived", "started_at": 1.0, "ended_at": 1795999999.0}')
        wait_until(lambda: listed()[directory.name]["status"] == "archived")
    elif change == "summary by hand":
        (directory / "summary.json").write_text('{"best_metric_value": 0.125, "best_metric_name": "x"}')
        wait_until(lambda: listed()[directory.name]["best_metric_value"] == 0.125)
    elif change == "deleted":
        marker.write_text('{"deleted_at": 1795422200.0, "reason": "user_deleted", "original_status": "finished"}')
        wait_until(lambda: directory.name not in listed())
        assert server.http.get(f"/api/runs/{directory.name}").status_code == 404
    else:
        assert directory.name not in listed()
        marker.unlink()
        wait_until(lambda: directory.name in listed())
