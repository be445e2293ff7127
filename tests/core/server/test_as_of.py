"""`runicorn serve --as-of`: a store as it was, and nothing of it changes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

import runicorn.artifacts as artifacts
from runicorn.events.decided import RunDeleted, RunTagged
from runicorn.events.log import FileLog
from runicorn.events.store import StoreStream
from tests.serving import Server
from tests.stores import make_run

THEN = 1_700_000_500.0
KEY = "p/n/runs/20231114_221320_aaaaaa"
LATER = "p/n/runs/20231114_223000_bbbbbb"
EVER = "p/n/runs/20231114_221000_cccccc"


def run_id(key: str) -> str:
    return key.rpartition("/")[2]


def event(ts: float, kind: str, **data: object) -> str:
    return json.dumps({"ts": ts, "type": kind, "data": data}) + "\n"


def created(ts: float, key: str) -> str:
    return event(ts, "run.created", run_id=run_id(key), project="p", name="n", created_at=ts)


def populate(root: Path) -> None:
    """One run that goes on after the moment, one that begins later, one that is deleted later and tagged before."""
    own = [created(THEN - 400, KEY), event(THEN - 300, "run.configured", config={"lr": 0.1})]
    own += [event(THEN - 200 + step, "metrics", loss=1 / (step + 1), global_step=step) for step in range(400)]
    own.append(event(THEN + 300, "run.summarized", update={"acc": 1}))
    own.append(event(THEN + 400, "run.finished", status="finished", ended_at=THEN + 400))
    make_run(root, KEY, events="".join(own), status={"status": "finished", "ended_at": THEN + 400}, summary={"acc": 1})
    (root / KEY / "logs.txt").write_text("12:00:00 | one\n12:10:00 | two\n")
    make_run(root, LATER, events=created(THEN + 60, LATER))
    make_run(root, EVER, events=created(THEN - 500, EVER))
    commands = StoreStream(FileLog(root, root / ".runicorn/state"))
    about = {"run": EVER, "run_id": run_id(EVER)}
    commands.append(RunTagged(**about, tags=["good"]), ts=THEN - 100)
    commands.append(RunTagged(**about, tags=["bad"]), ts=THEN + 100)
    commands.append(
        RunDeleted(**about, deleted_at=THEN + 200, reason="user_deleted", original_status="running"), ts=THEN + 200
    )


def files_of(root: Path) -> dict[str, str]:
    found = {}
    for path in sorted(root.rglob("*")):
        content = path.read_bytes() if path.is_file() else b""
        found[path.relative_to(root).as_posix()] = f"{path.stat().st_mtime_ns} {hashlib.sha256(content).hexdigest()}"
    return found


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("store")
    populate(root)
    server = Server(root, "--as-of", "2023-11-14T22:21:40Z", "--rate-limit", "off")
    yield server
    server.stop()


def get(past: Server, path: str, **parameters: str) -> httpx.Response:
    answer = past.http.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    return answer


def test_runs_are_those_of_then_in_the_state_of_then(past: Server) -> None:
    runs = {run["id"]: run for run in get(past, "/api/runs").json()}

    assert set(runs) == {run_id(KEY), run_id(EVER)}
    assert runs[run_id(KEY)]["status"] == "running"
    assert past.http.get(f"/api/runs/{run_id(LATER)}").status_code == 404
    assert "stale" not in get(past, f"/api/runs/{run_id(KEY)}").json(), "it was active at that time"


def test_v2_tags_and_the_recycle_bin_are_those_of_then(past: Server) -> None:
    page = get(past, "/api/v2/experiments", q="tag = good").json()
    assert [run["id"] for run in page["experiments"]] == [run_id(EVER)]
    assert get(past, "/api/v2/experiments", q="tag = bad").json()["total"] == 0
    assert get(past, "/api/recycle-bin").json()["deleted_runs"] == []
    detail = get(past, f"/api/v2/experiments/{run_id(KEY)}").json()
    assert detail["experiment"]["status"] == "running"


@pytest.mark.parametrize("path", ["/metrics_step", "/metrics"])
def test_metrics_end_then(past: Server, path: str) -> None:
    answer = get(past, f"/api/runs/{run_id(KEY)}{path}").json()

    assert [row["global_step"] for row in answer["rows"]] == list(range(201))


def test_fast_metrics_and_exports_end_then(past: Server) -> None:
    fast = get(past, f"/api/v2/experiments/{run_id(KEY)}/metrics/fast").json()
    assert [row["global_step"] for row in fast["rows"]] == list(range(201))
    compared = past.http.post("/api/v2/metrics/compare", json={"runs": [run_id(KEY)]})
    assert compared.status_code == 200, "a query by POST changes nothing"
    rows = get(past, f"/api/export/{run_id(KEY)}/csv").text.splitlines()
    assert len([row for row in rows if row and row[0].isdigit()]) == 201
    report = get(past, f"/api/export/{run_id(KEY)}/report").text
    assert "running" in report
    assert "finished" not in report
    assert "acc" not in report


def test_logs_are_answered_as_they_are(past: Server) -> None:
    with connect(f"{past.url.replace('http', 'ws')}/api/runs/{run_id(KEY)}/logs/ws") as socket:
        assert [socket.recv(timeout=5) for _ in range(2)] == ["12:00:00 | one", "12:10:00 | two"]
    found = past.http.get("/api/health").json()["as_of"]
    assert found["ts"] == THEN
    assert "logs" in found["not_versioned"]


def test_every_answer_says_of_when_it_is(past: Server) -> None:
    for path in ("/api/runs", "/api/health", "/api/unknown", "/", "/openapi.json"):
        assert past.http.get(path).headers["x-runicorn-as-of"] == "2023-11-14T22:21:40Z"


def test_health_is_ok_without_a_projector(past: Server) -> None:
    health = get(past, "/api/health").json()

    assert health["status"] == "ok"
    assert health["projector"]["state"] == "none"


def test_every_command_of_every_plugin_is_refused_and_says_why(past: Server) -> None:
    paths = past.http.get("/openapi.json").json()["paths"]
    commands = [
        (method, path.replace("{", "").replace("}", ""))
        for path, methods in paths.items()
        for method in methods
        if method in ("post", "put", "patch", "delete") and path != "/api/v2/metrics/compare"
    ]
    assert len(commands) > 30
    before = files_of(past.root)
    for method, path in commands:
        for body in (None, {"run_ids": [run_id(KEY)], "run_id": run_id(KEY), "tags": ["x"]}):
            answer = past.http.request(method.upper(), path, json=body)
            assert answer.status_code == 409, (method, path)
            assert answer.json() == {
                "detail": "This server shows the store as of 2023-11-14T22:21:40Z and changes nothing"
            }
    assert files_of(past.root) == before


def test_reading_everything_changes_nothing_below_the_root(tmp_path: Path) -> None:
    root = tmp_path / "store"
    populate(root)
    # What a live server would take over at once: 0.4.0 files, and a run whose process is gone.
    make_run(root, "p/n/runs/old", meta={"id": "old", "project": "p", "name": "n", "created_at": THEN - 900})
    before = files_of(root)
    server = Server(root, "--as-of", "2023-11-14T22:21:40Z", "--rate-limit", "off")
    try:
        for path in server.http.get("/openapi.json").json()["paths"]:
            for name in ("run_id", "exp_id"):
                path = path.replace(f"{{{name}}}", run_id(KEY))
            with server.http.stream("GET", path.replace("{", "").replace("}", "")) as answer:
                assert answer.status_code < 500 or answer.status_code == 503, path
                if "event-stream" not in answer.headers.get("content-type", ""):  # which ends with the server
                    answer.read()
        assert "old" not in [run["id"] for run in server.http.get("/api/runs").json()]
    finally:
        assert server.stop() == 0
    assert files_of(root) == before


@pytest.mark.slow(2)
def test_two_servers_of_one_store_and_two_workers(tmp_path: Path) -> None:
    root = tmp_path / "store"
    populate(root)
    live = Server(root)
    early, late = (
        Server(root, "--as-of", "2023-11-14T22:15:05Z"),
        Server(root, "--as-of", "2023-11-14T23:15Z", "--workers", "2"),
    )
    try:
        assert {run["id"] for run in early.http.get("/api/runs").json()} == {run_id(EVER), run_id(KEY)}
        for _ in range(10):
            with httpx.Client(base_url=late.url) as http:  # connections are spread over the workers
                assert {run["id"] for run in http.get("/api/runs").json()} == {run_id(KEY), run_id(LATER)}
        tagged = live.http.post("/api/experiments/tag", json={"run_id": run_id(KEY), "tags": ["new"]})
        assert tagged.json() == {"success": True}
    finally:
        for server in (live, early, late):
            server.stop()


def test_artifacts_are_those_of_then(tmp_path: Path) -> None:
    from runicorn_artifacts import promoting
    from runicorn_artifacts.lookup import Lookup

    root = tmp_path / "store"
    (tmp_path / "file.txt").write_text("content")
    storage = artifacts.create_artifact_storage(root)
    for _ in range(2):
        artifact = artifacts.Artifact("net", "model").add_file(tmp_path / "file.txt")
        storage.save_artifact(artifact, "", *artifact.staged)
    folder = Lookup(root).find("net", "model")
    promoting.set_alias(folder, "best", 1)
    path = folder.path / "events.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({**line, "ts": THEN + 10 * number}) + "\n" for number, line in enumerate(lines)))
    assert [line["type"] for line in lines] == ["artifact.version_created"] * 2 + ["artifact.aliased"]
    server = Server(root, "--as-of", "2023-11-14T22:21:55Z")
    try:
        found = server.http.get("/api/artifacts/net/versions").json()
        assert [version["version"] for version in found] == [1, 2]
        assert all("best" not in version["aliases"] for version in found)
    finally:
        server.stop()


def test_a_root_that_does_not_exist_is_not_made(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "runicorn", "serve", "--storage", str(tmp_path / "none"), "--as-of", "1h"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    assert found.returncode == 1
    assert "There is no storage root" in found.stderr
    assert not (tmp_path / "none").exists()


def test_what_a_killed_server_left_is_removed_by_the_next(tmp_path: Path) -> None:
    root, temporary = tmp_path / "root", tmp_path / "temporary"
    temporary.mkdir()
    populate(root)
    environment = {"TMPDIR": str(temporary)}
    with Server(root, "--as-of", "0s", environment=environment) as killed:
        (left,) = temporary.glob("runicorn-as-of-*")
        killed.process.kill()
        killed.process.wait()
    assert list(left.glob("*.db"))
    with Server(root, "--as-of", "0s", environment=environment):
        (used,) = temporary.glob("runicorn-as-of-*")
        assert used != left
        command = [sys.executable, "-m", "runicorn", "events", "verify", "--storage", str(root)]
        subprocess.run(command, env={**os.environ, **environment}, check=True, capture_output=True, timeout=60)
        assert list(used.glob("*.db")), "a living server keeps its own"
    assert list(temporary.glob("runicorn-*")) == []
