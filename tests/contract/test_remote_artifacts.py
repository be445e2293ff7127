"""Artifacts of a server in smart mode: a real server of ours, a real SSH server, and the store there as the SDK makes it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from runicorn.artifacts import Artifact
from runicorn_artifacts.verifying import verify
from tests.artifact_world import History
from tests.contract.test_remote import failure, ok
from tests.contract.test_remote_smart import connected, home, http, listed, server, synced
from tests.serving import Server, serve, wait_until
from tests.sshd import Sshd

__all__ = ["home", "http", "serve", "server"]

Serve = Callable[..., Server]
NOT_CONNECTED = (400, "Remote mode enabled but not connected. Please connect to remote server first.", "not_connected")
LOST = (400, "Remote connection is not active. Please reconnect.", "not_connected")


@pytest.fixture
def there(server: Server, tmp_path: Path) -> History:
    """A root on the server with a history of artifacts. What is asked over HTTP is asked of the server here."""
    there = History(server, tmp_path / "there, with 'quotes'")
    there.run(
        "prepare", [], ["dataset/rows:v1"], environment={"python_version": "3.12", "git_info": {"commit": "c0ffee"}}
    )
    for number in (1, 2, 3):
        there.run(f"train{number}", ["dataset/rows:v1"], [f"model/net:v{number}"])
    there.run("describe", ["model/net:v2"], ["zoo/beast:v1"])
    artifact = Artifact("huge", "dataset", metadata={"rows": 10**30}).add_reference("s3://b/raw.tar", size=150 << 30)
    there.storage.save_artifact(artifact, "", *artifact.staged)
    there.storage.delete_artifact_version("net", "model", 3)
    return there


def show(there: History, http: httpx.Client, sshd: Sshd) -> None:
    """Connect, and have everything in the cache."""
    connected(http, sshd, there.root, auto_sync=False)
    synced(http)


def on_disk(root: Path) -> dict[str, bytes]:
    """The files of the store on the server, but for locks."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted((root / "artifacts").rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def pool(root: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in (root / "artifacts/.dedup").rglob("*") if path.is_file()}


@pytest.mark.slow(2)
def test_answers_are_those_of_the_server_itself(there: History, http: httpx.Client, sshd: Sshd, serve: Serve) -> None:
    there.storage.lookup.find("net")
    direct = History(serve(there.root, "--rate-limit", "off"), there.root)
    direct.send("PUT", "/net/v1/aliases/good")
    direct.promote("net", 2, "staging", "production")
    for run in ("prepare", "train1", "train2", "train3", "describe"):
        direct.known(run)
    direct.level_stats()
    show(there, http, sshd)
    paths = ["", "?include_deleted=true", "?type=model", "?type=unknown", "/net/versions?include_deleted=true"]
    for name in ("net", "rows", "beast", "huge"):
        paths += [
            f"/{name}/versions",
            f"/{name}/v1",
            f"/{name}/v1/lineage",
            f"/{name}/v1/impact",
            f"/{name}/v1/provenance",
        ]
    paths += ["/net/v2", "/net/v3", "/net/v2/lineage?max_depth=10", "/net/v2/lineage?max_depth=0", "/rows/v1/lineage"]
    paths += ["/net/diff?from=good&to=production", "/net/diff?from=1&to=v3", "/net/diff", "/net/v1?type=model"]
    paths += [
        "/net/v9",
        "/nobody/versions",
        "/net/v1?type=dataset",
        "/net/vx",
        "/net/1",
        "/net/v1?type=../x",
        "/a%3Ab/v1",
    ]
    paths += ["/net/diff?from=unknown", "/nobody/v1/lineage", "/net/v9/impact", "/net/v0/files"]
    for path in paths:
        mine, theirs = there.http.get(f"/api/artifacts{path}"), direct.http.get(f"/api/artifacts{path}")
        assert (mine.status_code, mine.json()) == (theirs.status_code, theirs.json()), path
    for name, version in (("net", 1), ("net", 3), ("huge", 1)):
        mine, theirs = (world.get(f"/{name}/v{version}/files") for world in (there, direct))
        remote = [{**file, "absolute_path": None, "is_remote": True} for file in theirs["files"]]
        assert mine == {**theirs, "files": remote, "is_remote": True}
    for include_deleted in (False, True):
        mine, theirs = (world.get("/stats", include_deleted=include_deleted) for world in (there, direct))
        unknown = {"dedup_enabled": False, "dedup_pool_size_bytes": 0, "space_saved_bytes": 0, "dedup_ratio": 0}
        state = ["connected", "last_sync", "cached_artifacts", "cache_size_bytes", "remote_size_bytes", "sync_count",
                 "error_count"]  # fmt: skip
        assert list(mine) == [*theirs, *state]
        assert {key: mine[key] for key in theirs} == {**theirs, **unknown}
    status = ok(http.get("/api/remote/status"))["stats"]
    assert {key: mine[key] for key in state} == {key: status[key] for key in state}
    assert (mine["connected"], mine["cached_artifacts"], mine["error_count"]) == (True, 6, 0)


def test_an_unchanged_list_is_not_sent_again(there: History, http: httpx.Client, sshd: Sshd) -> None:
    show(there, http, sshd)
    etag = http.get("/api/artifacts").headers["etag"]
    assert http.get("/api/artifacts", headers={"if-none-match": etag}).status_code == 304
    there.save("net", "another")
    synced(http)
    answer = http.get("/api/artifacts", headers={"if-none-match": etag})
    assert next(item for item in answer.json() if item["name"] == "net")["latest_version"] == 4
    ok(http.post("/api/remote/mode/switch", json={"mode": "local"}))
    assert http.get("/api/artifacts").json() == []
    ok(http.post("/api/remote/mode/switch", json={"mode": "remote"}))
    assert len(http.get("/api/artifacts").json()) == 4


def test_contents_are_not_here(there: History, http: httpx.Client, sshd: Sshd) -> None:
    show(there, http, sshd)
    for path in ("files/file0", "zip"):
        assert failure(http.get(f"/api/artifacts/net/v1/{path}"))[:2] == (
            404, "The files of net:v1 are on remote server, not here",
        )  # fmt: skip
    assert failure(http.get("/api/artifacts/net/v9/zip"))[:2] == (404, "Version not found: net:v9")


def test_a_soft_deletion_acts_on_the_server_and_shows_at_once(
    there: History, http: httpx.Client, sshd: Sshd, serve: Serve
) -> None:
    direct = serve(there.root, "--rate-limit", "off")
    show(there, http, sshd)
    there.send("PUT", "/net/v2/aliases/best")
    answer = {"success": True, "message": "Soft deleted net:v2 on remote server", "bytes_freed": 0}
    assert there.send("DELETE", "/net/v2") == answer
    marker = there.folder("net") / "v2/.deleted"
    said = json.loads(marker.read_text())
    assert (said["deleted_by"], said["version"], said["artifact_name"]) == ("user", 2, "net")
    assert there.send("DELETE", "/net/v2") == answer
    assert json.loads(marker.read_text()) == said
    index = there.index("net")
    assert [(item["version"], item["status"], item["aliases"]) for item in index["versions"]] == [
        (1, "ready", ["latest"]), (2, "deleted", ["best"]), (3, "deleted", []),
    ]  # fmt: skip
    assert (index["aliases"], index["next_version"]) == ({"best": 2, "latest": 1}, 4)

    def check(latest: int, shown: list[int], aliases: dict[str, int]) -> None:
        item = there.listed("net")
        assert item is not None
        assert (item["latest_version"], item["aliases"]) == (latest, aliases)
        assert [item["version"] for item in there.get("/net/versions")] == shown

    check(1, [1], {"latest": 1})
    assert there.get("/net/v2")["status"] == "deleted"
    assert there.storage.load_artifact("net")[0].version == 1
    wait_until(lambda: len(direct.http.get("/api/artifacts/net/versions").json()) == 1, "the deletion over there")
    synced(http)
    check(1, [1], {"latest": 1})

    assert there.send("POST", "/net/v2/restore")["message"] == "Restored net:v2 on remote server"
    assert there.send("POST", "/net/v2/restore")["success"]
    assert not marker.exists()
    check(2, [1, 2], {"latest": 2, "best": 2})
    wait_until(lambda: len(direct.http.get("/api/artifacts/net/versions").json()) == 2, "the restoration over there")
    synced(http)
    check(2, [1, 2], {"latest": 2, "best": 2})
    there.send("DELETE", "/net/aliases/best")
    check(2, [1, 2], {"latest": 2})
    assert there.refused("DELETE", "/net/aliases/best")[0] == 404
    assert there.save("net") == 4


def test_a_restoration_by_somebody_else_arrives_after_a_deletion_from_here(
    there: History, http: httpx.Client, sshd: Sshd
) -> None:
    show(there, http, sshd)
    there.send("DELETE", "/net/v1")
    there.storage.restore_artifact_version("net", "model", 1)
    synced(http)
    assert [item["version"] for item in there.get("/net/versions")] == [1, 2]


def test_a_purge_takes_the_contents_that_nobody_else_has(there: History, http: httpx.Client, sshd: Sshd) -> None:
    there.save("mixed", "its own content", "shared with a cached one", "shared with a later one")
    there.save("mixed", "shared with a cached one")
    show(there, http, sshd)
    there.save("other", "shared with a later one", type="zoo")  # the cache does not know of it
    there.send("PUT", "/mixed/v1/aliases/good")
    before = pool(there.root)
    answer = there.send("DELETE", "/mixed/v1", params={"permanent": "true"})
    assert answer == {
        "success": True, "message": "Permanently deleted mixed:v1 on remote server", "bytes_freed": len("its own content"),
    }  # fmt: skip
    gone = before.keys() - pool(there.root).keys()
    assert sum(before[digest] for digest in gone) == len("its own content")
    assert not (there.folder("mixed") / "v1").exists()
    assert list((there.root / "artifacts/.tmp").iterdir()) == []
    assert (there.index("mixed")["aliases"], there.index("mixed")["next_version"]) == ({"latest": 2}, 3)
    assert [item["version"] for item in there.get("/mixed/versions", include_deleted=True)] == [2]
    assert there.refused("GET", "/mixed/v1") == (404, "Version not found: mixed:v1")
    assert there.refused("DELETE", "/mixed/v1") == (404, "Version not found: mixed:v1")
    assert list(verify(there.storage.lookup.artifacts())) == []
    there.send("DELETE", "/mixed/v2", params={"permanent": "true"})
    assert there.get("/mixed/versions") == []
    assert there.storage.cleanup_orphaned_dedup() == 0
    synced(http)
    assert there.listed("mixed", include_deleted=True) is None
    assert there.save("mixed") == 3


def test_in_a_store_without_pool_a_purge_frees_the_files(there: History, http: httpx.Client, sshd: Sshd) -> None:
    there.save("net", "12345", "678")
    shutil.rmtree(there.root / "artifacts/.dedup")
    show(there, http, sshd)
    assert there.send("DELETE", "/net/v4", params={"permanent": "true"})["bytes_freed"] == 8


def test_what_cannot_be_changed_there_stays_as_it_is(there: History, http: httpx.Client, sshd: Sshd) -> None:
    there.save("fleeting")
    show(there, http, sshd)
    shutil.rmtree(there.folder("fleeting"))
    gone = (404, "Artifact version not found: fleeting:v1")
    for method, path in (("DELETE", ""), ("DELETE", "?permanent=true"), ("POST", "/restore")):
        assert failure(http.request(method, f"/api/artifacts/fleeting/v1{path}"))[:2] == gone
    shutil.rmtree(there.root / "artifacts/.tmp")
    (there.root / "artifacts/.tmp").write_text("a file in the place of the staging area")
    before = on_disk(there.root)
    answer = http.delete("/api/artifacts/net/v1", params={"permanent": "true"})
    assert failure(answer)[:2] == (503, "Failed to delete version on remote server")
    assert on_disk(there.root) == before
    assert there.get("/net/v1")["status"] == "ready"
    assert there.refused("PUT", "/net/v1/aliases/latest")[0] == 400


def test_a_store_without_a_readable_index_is_shown_and_changed(there: History, http: httpx.Client, sshd: Sshd) -> None:
    (there.folder("net") / "versions.json").write_text("garbage")
    show(there, http, sshd)
    assert [item["version"] for item in there.get("/net/versions")] == [1, 2]
    there.send("DELETE", "/net/v2")
    assert [item["version"] for item in there.get("/net/versions")] == [1]
    assert (there.folder("net") / "v2/.deleted").exists()
    assert (there.folder("net") / "versions.json").read_text() == "garbage"
    (there.folder("net") / "v1/metadata.json").write_text("[" * 50_000)
    synced(http)
    assert http.get("/api/artifacts").status_code == 200
    assert there.listed("rows")


def test_without_a_connection_versions_are_read_and_not_deleted(there: History, http: httpx.Client, sshd: Sshd) -> None:
    show(there, http, sshd)
    versions = there.get("/net/versions")
    changes = [("DELETE", "/net/v1"), ("DELETE", "/net/v1?permanent=1"), ("POST", "/net/v1/restore"),
               ("PUT", "/net/v1/aliases/good")]  # fmt: skip
    sshd.kill()
    wait_until(lambda: there.get("/stats")["connected"] is False, "the loss")
    for method, path in changes:
        assert failure(http.request(method, f"/api/artifacts{path}")) == LOST
    assert there.get("/net/versions") == versions
    ok(http.post("/api/remote/disconnect"))
    assert there.get("") == []
    assert there.refused("GET", "/net/versions")[0] == 404
    ok(http.post("/api/remote/mode/switch", json={"mode": "remote"}))
    for method, path in changes:
        assert failure(http.request(method, f"/api/artifacts{path}")) == NOT_CONNECTED
    assert there.get("/net/versions") == versions
    assert there.get("/net/v1/lineage")["root_artifact"] == "net:v1"
    assert there.get("/stats")["connected"] is False
    assert not (there.folder("net") / "v1/.deleted").exists()


def test_local_artifacts_are_saved_promoted_and_evaluated_meanwhile(
    server: Server, there: History, http: httpx.Client, sshd: Sshd
) -> None:
    here = History(server, server.root)
    try:
        here.save("net", "local content")
        wait_until(lambda: here.listed("net"), "the local artifact")
        show(there, http, sshd)
        assert len(there.get("/net/versions")) == 2
        before = on_disk(there.root)
        here.promote("net", 1, "staging", "production")
        here.send("POST", "/net/v1/evaluate", json={"metrics": {"a": 1}, "status": "passed"})
        assert len(here.get("/net/evaluations")) == 1
        assert here.send("POST", "/net/versions?type=model", files=[("file", ("w", b"1"))])["version"] == 2
        assert on_disk(there.root) == before
        assert [item["aliases"] for item in there.get("/net/versions")] == [[], ["latest"]]
        ok(http.post("/api/remote/mode/switch", json={"mode": "local"}))
        assert [item["aliases"] for item in here.get("/net/versions")] == [["production"], ["latest"]]
    finally:
        ok(http.post("/api/remote/mode/switch", json={"mode": "local"}))
        for version in (1, 2):
            here.send("DELETE", f"/net/v{version}", params={"permanent": "true"})
        shutil.rmtree(server.root / "evaluations")


def test_runs_of_the_server_show_their_artifacts_and_local_lineage_has_none_of_them(
    server: Server, there: History, http: httpx.Client, sshd: Sshd
) -> None:
    here = History(server, server.root)
    here.save("rows", "other rows of the same name", type="dataset", run="")
    try:
        show(there, http, sshd)

        def of_run(run: str) -> Any:
            return http.get(f"/api/runs/{run}/artifacts").json()

        wait_until(lambda: "train2" in listed(http), "the runs")
        wait_until(lambda: of_run("train2").get("used"), "their artifacts")
        [made], [used] = of_run("train2")["created"], of_run("train2")["used"]
        assert (made["name"], made["version"], made["status"], made["aliases"]) == ("net", 2, "ready", ["latest"])
        assert (used["name"], used["status"], used["description"]) == ("rows", "ready", "a net")
        [deleted] = of_run("train3")["created"]
        assert (deleted["status"], deleted["aliases"]) == ("deleted", [])
        assert len(there.get("/rows/v1/lineage")["nodes"]) > 6
        ok(http.post("/api/remote/mode/switch", json={"mode": "local"}))
        wait_until(lambda: listed(http) == {}, "local runs only")
        assert [node["node_id"] for node in here.get("/rows/v1/lineage")["nodes"]] == ["rows:v1"]
        assert here.get("/rows/v1/impact")["runs"] == []
    finally:
        ok(http.post("/api/remote/mode/switch", json={"mode": "local"}))
        here.send("DELETE", "/rows/v1", params={"permanent": "true"})


def test_stages_of_the_server_arrive(there: History, http: httpx.Client, sshd: Sshd, serve: Serve) -> None:
    direct = History(serve(there.root, "--rate-limit", "off"), there.root)
    show(there, http, sshd)
    assert there.get("/net/v1")["lifecycle_stage"] == "experimental"
    direct.promote("net", 1, "staging")
    synced(http)
    assert there.get("/net/v1")["lifecycle_stage"] == "staging"
    assert there.get("/net/v1")["updated_at"] == direct.get("/net/v1")["updated_at"]


def test_custom_types_are_downloaded_and_labelled_without_a_hint(
    there: History, http: httpx.Client, sshd: Sshd
) -> None:
    show(there, http, sshd)
    assert there.get("/beast/v1")["type"] == "zoo"
    task = ok(http.post("/api/remote/download/beast/v1"))["task_id"]

    def status() -> Any:
        return ok(http.get(f"/api/remote/download/{task}/status"))

    wait_until(lambda: status()["status"] != "running", "the download")
    assert (status()["status"], status()["artifact_type"]) == ("completed", "zoo")
    assert (Path(status()["target_dir"]) / "file0").read_text() == "zoo/beast:v1 of describe"
    ok(http.post("/api/remote/artifacts/beast/v1/alias?type=zoo", json={"alias": "tame"}))
    assert there.get("/beast/v1")["aliases"] == ["tame", "latest"]
    ok(http.post("/api/remote/artifacts/beast/v1/tags", json={"tags": ["striped"]}))
    assert there.get("/beast/v1")["tags"] == ["good", "striped"]
    refused = http.post("/api/remote/artifacts/beast/v1/tags?type=toy", json={"tags": ["a"]})
    assert failure(refused)[:2] == (400, "Invalid artifact type: toy")


def test_an_artifact_that_is_gone_there_is_gone_here(there: History, http: httpx.Client, sshd: Sshd) -> None:
    show(there, http, sshd)
    shutil.rmtree(there.folder("beast", "zoo"))
    synced(http)
    assert there.listed("beast") is None
    assert there.refused("GET", "/beast/versions") == (404, "Artifact not found: beast")
    assert failure(http.post("/api/remote/download/beast/v1"))[0] == 404
