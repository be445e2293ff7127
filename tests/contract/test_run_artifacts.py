"""The artifacts of a run over HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.plugins.artifacts.artifact_folders import ArtifactFolder
from tests.recorded import RUNS, recorded, run_directories, wait_until_live
from tests.serving import Server, serve, wait_until
from tests.stores import make_run

__all__ = ["recorded", "serve"]

KEY = "vision/resnet/runs/20250114_153045_a1b2c3"
RUN_ID = KEY.rpartition("/")[2]
ITEM = ["name", "type", "version", "size_bytes", "created_at", "description", "aliases", "lifecycle_stage", "status"]

Serve = Callable[..., Server]


def entry(name: str, version: int, **fields: Any) -> dict[str, Any]:
    return {"name": name, "type": "model", "version": version, "size_bytes": 11, **fields}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A store that a test may change."""
    return store(tmp_path / "root")


def store(root: Path) -> Path:
    """A run that made `net:v3` and more, and used `net:v2`, `gone:v1` and `bad:v1`."""
    net = ArtifactFolder(root, "model", "net")
    for version in (1, 2, 3):
        net.save(version)
    bad = ArtifactFolder(root, "model", "bad").save(1)
    (bad / "metadata.json").write_text("{")
    make_run(
        root,
        KEY,
        meta={"project": "vision", "name": "resnet", "created_at": 5.0},
        artifacts_created={
            "artifacts": [entry("net", 3, created_at=90.0), {"name": 5}, entry("net", 1, created_at=91.0)]
        },
        artifacts_used={
            "artifacts": [entry("net", 2), entry("gone", 1, used_at=92.5), entry("bad", 1), entry("gone", 2)]
        },
    )
    return root


def artifacts(server: Server, run_id: str = RUN_ID) -> dict[str, list[dict[str, Any]]]:
    response = server.http.get(f"/api/runs/{run_id}/artifacts")
    return response.json() if response.status_code == 200 else {"created": [], "used": []}


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for those who only read."""
    with Server(store(tmp_path_factory.mktemp("read") / "root"), "--rate-limit", "off") as server:
        wait_until(lambda: artifacts(server)["created"] and artifacts(server)["used"], "the artifacts of the run")
        yield server


def serve_until_known(serve: Serve, root: Path) -> Server:
    server = serve(root, "--rate-limit", "off")
    wait_until(lambda: artifacts(server)["created"] and artifacts(server)["used"], "the artifacts of the run")
    return server


def test_values_come_from_the_version_in_the_order_of_the_run(reader: Server) -> None:
    created = artifacts(reader)["created"]
    assert [list(item) for item in created] == [ITEM, ITEM]
    assert created[0] == {
        "name": "net",
        "type": "model",
        "version": 3,
        "size_bytes": 7003,
        "created_at": 1003.0,
        "description": "number 3",
        "aliases": ["latest"],
        "lifecycle_stage": "experimental",
        "status": "ready",
    }
    assert (created[1]["version"], created[1]["created_at"], created[1]["aliases"]) == (1, 1001.0, [])


def test_where_a_version_cannot_be_read_the_run_says_what_it_noted(reader: Server) -> None:
    unknown = {"size_bytes": 11, "description": None, "aliases": [], "lifecycle_stage": None}
    assert artifacts(reader)["used"][1:] == [
        {"name": "gone", "type": "model", "version": 1, "created_at": 92.5, **unknown, "status": "missing"},
        {"name": "bad", "type": "model", "version": 1, "created_at": 0.0, **unknown, "status": "corrupted"},
        {"name": "gone", "type": "model", "version": 2, "created_at": 0.0, **unknown, "status": "missing"},
    ]


def test_counts_in_the_list_of_runs_are_the_lengths(reader: Server) -> None:
    run = reader.http.get("/api/runs").json()[0]
    assert (run["artifacts_created_count"], run["artifacts_used_count"]) == (2, 4)
    assert [len(part) for part in artifacts(reader).values()] == [2, 4]


def test_later_entries_and_later_versions_are_seen(root: Path, serve: Serve) -> None:
    server = serve_until_known(serve, root)
    more = [entry("net", 3), entry("net", 1), entry("net", 4)]
    (root / KEY / "artifacts_created.json").write_text(json.dumps({"artifacts": more}))
    wait_until(lambda: len(artifacts(server)["created"]) == 3, "the new entry")
    assert artifacts(server)["created"][2]["status"] == "missing"
    ArtifactFolder(root / "later", "model", "net").save(4).rename(root / "artifacts" / "model" / "net" / "v4")
    assert artifacts(server)["created"][2]["status"] == "ready"
    assert artifacts(server)["created"][2]["aliases"] == ["latest"]


def test_unreadable_files_give_empty_lists(tmp_path: Path, serve: Serve) -> None:
    make_run(tmp_path / "root", KEY, artifacts_created="garbage", artifacts_used="[]", meta={})
    server = serve(tmp_path / "root", "--rate-limit", "off")
    wait_until(lambda: server.http.get(f"/api/runs/{RUN_ID}/artifacts").status_code == 200, "the run")
    assert artifacts(server) == {"created": [], "used": []}


def test_unknown_and_deleted_runs_are_not_found(root: Path, serve: Serve) -> None:
    server = serve_until_known(serve, root)
    for run_id in ("20250114_153045_000000", "nonsense", "..."):
        response = server.http.get(f"/api/runs/{run_id}/artifacts")
        assert (response.status_code, response.json()) == (404, {"detail": f"Run not found: {run_id}"})
    (root / KEY / ".deleted").write_text(json.dumps({"deleted_at": time.time()}))
    wait_until(lambda: server.http.get(f"/api/runs/{RUN_ID}/artifacts").status_code == 404, "the run to be deleted")


def test_nothing_is_created_or_changed(reader: Server) -> None:
    before = {path: path.lstat() for path in sorted(reader.root.rglob("*")) if ".runicorn" not in path.parts}
    artifacts(reader)
    after = {path: path.lstat() for path in sorted(reader.root.rglob("*")) if ".runicorn" not in path.parts}
    assert {path: stat.st_mtime_ns for path, stat in before.items()} == {
        path: stat.st_mtime_ns for path, stat in after.items()
    }


def test_without_the_runs_plugin_the_answer_says_so(root: Path, serve: Serve) -> None:
    server = serve(root, "--without", "runs")
    response = server.http.get(f"/api/runs/{RUN_ID}/artifacts")
    assert (response.status_code, response.json()) == (503, {"detail": "The plugin runs is not enabled"})
    assert response.headers["x-ratelimit-limit"] == "100"


def test_a_recorded_store_has_all_its_artifacts(recorded: Path, serve: Serve) -> None:
    server = serve(recorded, "--rate-limit", "off")
    wait_until_live(server)

    def noted(directory: Path, part: str) -> list[tuple[str, int]]:
        path = directory / f"artifacts_{part}.json"
        return names(json.loads(path.read_text())["artifacts"]) if path.exists() else []

    def shown(directory: Path) -> dict[str, list[tuple[str, int]]]:
        return {part: names(items) for part, items in artifacts(server, directory.name).items()}

    directories = run_directories(recorded)
    assert len(directories) == RUNS
    expected = {path.name: {part: noted(path, part) for part in ("created", "used")} for path in directories}
    wait_until(lambda: {path.name: shown(path) for path in directories} == expected, "all artifacts", timeout_s=60)
    items = [item for path in directories for part in artifacts(server, path.name).values() for item in part]
    assert {item["status"] for item in items} == {"ready"}


def names(items: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(item["name"], item["version"]) for item in items]
