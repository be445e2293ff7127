"""The recycle bin over real HTTP: deleting, listing, restoring, emptying."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

import runicorn as rn
from tests.recorded import wait_until_live
from tests.serving import Server, serve, wait_until
from tests.stores import make_run

__all__ = ["serve"]

Serve = Callable[..., Server]
UNKNOWN = "20250101_000000_aaaaaa"
_numbers = count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("bin") / "root", "--rate-limit", "off")
    wait_until_live(server)
    yield server
    server.stop()


def new_id() -> str:
    return f"20250114_153045_{next(_numbers):06x}"


def make(server: Server, run_id: str | None = None, **files: Any) -> str:
    """A run that the server lists."""
    run_id = run_id or new_id()
    files.setdefault("meta", {"created_at": 5.5})
    make_run(server.root, f"vision/resnet/runs/{run_id}", **files)
    wait_until(lambda: server.http.get(f"/api/runs/{quote(run_id)}").status_code == 200)
    return run_id


def directory(server: Server, run_id: str) -> Path:
    return server.root / "vision/resnet/runs" / run_id


def post(server: Server, path: str, **body: Any) -> httpx.Response:
    return server.http.post(f"/api/{path}", json=body)


def deleted(server: Server, *run_ids: str) -> dict[str, Any]:
    answer = post(server, "runs/soft-delete", run_ids=run_ids)
    assert answer.status_code == 200, answer.text
    return answer.json()


def in_bin(server: Server) -> dict[str, dict[str, Any]]:
    return {run["id"]: run for run in server.http.get("/api/recycle-bin").json()["deleted_runs"]}


def listed(server: Server) -> list[str]:
    return [run["id"] for run in server.http.get("/api/runs").json()]


def v2(server: Server) -> dict[str, Any]:
    found = server.http.get("/api/v2/experiments?include_deleted=true&per_page=1000").json()["experiments"]
    return {run["id"]: run["deleted_at"] for run in found}


def test_deleting_and_restoring_answer_as_documented(server: Server) -> None:
    run_id = make(server, status={"status": "running"}, meta={"created_at": 5.5, "hostname": "elsewhere"})
    before = time.time()
    assert deleted(server, run_id) == {
        "deleted_count": 1,
        "results": {run_id: {"success": True}},
        "message": "Soft deleted 1 of 1 runs",
    }
    entry = in_bin(server)[run_id]
    assert before <= entry.pop("deleted_at") <= time.time()
    assert entry == {
        "id": run_id,
        "project": "vision",
        "name": "resnet",
        "created_time": 5.5,
        "delete_reason": "user_deleted",
        "original_status": "running",
        "run_dir": str(directory(server, run_id)),
    }
    assert post(server, "recycle-bin/restore", run_ids=[run_id]).json() == {
        "restored_count": 1,
        "results": {run_id: {"success": True}},
        "message": "Restored 1 of 1 runs",
    }
    assert run_id not in in_bin(server)


def test_v1_v2_and_the_bin_agree_at_once_and_nothing_but_the_marker_changes(server: Server) -> None:
    run_id = make(server)
    order, files = listed(server), os.listdir(directory(server, run_id))
    deleted(server, run_id)
    assert run_id not in listed(server)
    assert server.http.get(f"/api/runs/{run_id}").status_code == 404
    assert v2(server)[run_id] == in_bin(server)[run_id]["deleted_at"]
    marker = json.loads((directory(server, run_id) / ".deleted").read_text())
    assert marker == {
        "deleted_at": in_bin(server)[run_id]["deleted_at"],
        "reason": "user_deleted",
        "original_status": "unknown",
    }
    post(server, "recycle-bin/restore", run_ids=[run_id])
    assert listed(server) == order
    assert v2(server)[run_id] is None
    assert os.listdir(directory(server, run_id)) == files


def test_duplicates_are_handled_once_in_the_order_of_the_request(server: Server) -> None:
    first, second = make(server), make(server)
    answer = deleted(server, second, UNKNOWN, first, second)
    assert list(answer["results"]) == [second, UNKNOWN, first]
    assert answer["results"][UNKNOWN] == {"success": False, "error": "run not found"}
    assert (answer["deleted_count"], answer["message"]) == (2, "Soft deleted 2 of 4 runs")
    again = post(server, "recycle-bin/restore", run_ids=[first, first, UNKNOWN]).json()
    assert (again["restored_count"], again["message"]) == (1, "Restored 1 of 3 runs")
    assert post(server, "recycle-bin/restore", run_ids=[first]).json()["results"] == {
        first: {"success": False, "error": "run not deleted"}
    }
    assert deleted(server, second)["results"] == {second: {"success": False, "error": "run not found"}}


@pytest.mark.parametrize("path", ["runs/soft-delete", "recycle-bin/restore"])
@pytest.mark.parametrize(
    "body", [{}, {"run_ids": None}, {"run_ids": []}, {"run_ids": "x"}, {"run_ids": {"a": 1}}, {"run_ids": 5}]
)
def test_what_is_no_list_is_refused(server: Server, path: str, body: dict[str, Any]) -> None:
    answer = post(server, path, **body)
    assert (answer.status_code, answer.json()) == (400, {"detail": "run_ids is required and must be a list"})


def test_one_malformed_id_changes_nothing(server: Server) -> None:
    run_id = make(server)
    for bad, shown in [
        ("x y", "x y"),
        (run_id + "\n", run_id),
        ("../a", "../a"),
        (5, "5"),
        (None, "null"),
        ([1], "[1]"),
    ]:
        for path in ("runs/soft-delete", "recycle-bin/restore"):
            answer = post(server, path, run_ids=[run_id, bad])
            assert answer.status_code == 400
            expected = f"Invalid run_id format: {shown}. Expected format: YYYYMMDD_HHMMSS_XXXXXX"
            assert answer.json() == {"detail": expected}
    assert run_id in listed(server)


def test_more_than_a_hundred_are_refused_and_a_hundred_are_not(server: Server) -> None:
    ids = [UNKNOWN] * 101
    for path, verb in (("runs/soft-delete", "delete"), ("recycle-bin/restore", "restore")):
        answer = post(server, path, run_ids=ids)
        assert (answer.status_code, answer.json()["detail"]) == (400, f"Cannot {verb} more than 100 runs at once")
        assert post(server, path, run_ids=ids[:100]).status_code == 200


def test_custom_ids_can_be_deleted_and_restored(server: Server) -> None:
    make(server, "实验 #1")
    assert deleted(server, "实验 #1")["deleted_count"] == 1
    assert post(server, "recycle-bin/restore", run_ids=["实验 #1"]).json()["restored_count"] == 1


def test_a_link_is_never_written_through(server: Server, tmp_path: Path) -> None:
    outside = make_run(tmp_path / "outside", "x", meta={"created_at": 1.0})
    run_id = new_id()
    (directory(server, run_id)).parent.mkdir(parents=True, exist_ok=True)
    directory(server, run_id).symlink_to(outside)
    wait_until(lambda: run_id in listed(server))
    error = {"success": False, "error": "run directory is a link"}
    assert deleted(server, run_id)["results"] == {run_id: error}
    assert os.listdir(outside) == ["meta.json"]


@pytest.mark.parametrize("confirm", ["true", "no", 1, [0], {"a": 1}, None, False, "missing"])
def test_only_true_empties_the_bin(server: Server, confirm: Any) -> None:
    run_id = make(server)
    deleted(server, run_id)
    answer = post(server, "recycle-bin/empty", **({} if confirm == "missing" else {"confirm": confirm}))
    assert (answer.status_code, answer.json()) == (400, {"detail": "Must set confirm=true to permanently delete"})
    assert directory(server, run_id).exists()


def test_health_answers_while_a_hundred_runs_are_deleted_and_restored(serve: Serve, tmp_path: Path) -> None:
    root = tmp_path / "r"
    ids = [new_id() for _ in range(100)]
    for run_id in ids:
        make_run(root, f"vision/resnet/runs/{run_id}", meta={"created_at": 5.5})
    server = serve(root, "--rate-limit", "off")
    wait_until_live(server)
    wait_until(lambda: len(listed(server)) == len(ids), "all runs")
    for path, key in (("runs/soft-delete", "deleted_count"), ("recycle-bin/restore", "restored_count")):
        with ThreadPoolExecutor(1) as pool, httpx.Client(base_url=server.url, timeout=20) as http:
            assert http.get("/api/health").status_code == 200
            command = pool.submit(post, server, path, run_ids=ids)
            answered_meanwhile = 0
            while not command.done():
                assert http.get("/api/health").status_code == 200
                answered_meanwhile += 1
        assert command.result().json()[key] == len(ids)
        assert answered_meanwhile >= 2  # the last one may have waited for the command


def test_emptying_removes_runs_entries_and_rows_and_says_how_much_is_free(serve: Serve, tmp_path: Path) -> None:
    server = serve(tmp_path / "r", "--rate-limit", "off")
    wait_until_live(server)
    gone, kept = make(server, events="x" * 5000 + "\n"), make(server)
    for run_id in (gone, kept):
        assert post(server, "experiments/tag", run_id=run_id, tags=["t"]).json() == {"success": True}
    deleted(server, gone)
    answer = post(server, "recycle-bin/empty", confirm=True).json()
    assert answer.pop("bytes_freed") > 5000
    assert answer == {"permanently_deleted": 1, "message": "Permanently deleted 1 runs", "failed": []}
    assert not directory(server, gone).exists()
    # A look at the directory that began before it went may show the run again, until the next look.
    wait_until(lambda: (in_bin(server), listed(server), list(v2(server))) == ({}, [kept], [kept]), "the end of the run")
    assert list(json.loads((server.root / ".experiments_metadata.json").read_text())) == [kept]
    assert post(server, "recycle-bin/empty", confirm=True).json()["permanently_deleted"] == 0
    assert deleted(server, gone)["results"][gone] == {"success": False, "error": "run not found"}


def test_artifacts_that_a_run_created_stay_when_it_is_purged(serve: Serve, tmp_path: Path) -> None:
    server = serve(tmp_path / "r", "--rate-limit", "off")
    wait_until_live(server)
    weights = tmp_path / "weights.bin"
    weights.write_bytes(os.urandom(1000))
    run = rn.Run("vision", server.root, None, "resnet", False)
    run.log_artifact(rn.Artifact("net", "model").add_file(weights))
    run.finish()
    wait_until(lambda: run.id in listed(server))
    before = server.http.get("/api/artifacts/net/v1")
    deleted(server, run.id)
    assert post(server, "recycle-bin/empty", confirm=True).json()["permanently_deleted"] == 1
    assert not run.run_dir.exists()
    after = server.http.get("/api/artifacts/net/v1")
    assert (after.status_code, after.json()) == (200, before.json())
    content = server.http.get("/api/artifacts/net/v1/files/weights.bin")
    assert (content.status_code, content.content) == (200, weights.read_bytes())


def test_odd_markers_of_0_4_0_are_shown_with_what_is_known(server: Server) -> None:
    run_id = make(server)
    marker = directory(server, run_id) / ".deleted"
    marker.write_text("{")
    os.utime(marker, (1_700_000_000, 1_700_000_000))
    wait_until(lambda: run_id in in_bin(server))
    entry = in_bin(server)[run_id]
    assert (entry["deleted_at"], entry["delete_reason"], entry["original_status"]) == (
        1_700_000_000.0,
        "unknown",
        "unknown",
    )
    assert post(server, "recycle-bin/restore", run_ids=[run_id]).json()["restored_count"] == 1
    assert run_id in listed(server)


def test_an_unchanged_bin_is_304(server: Server) -> None:
    etag = server.http.get("/api/recycle-bin").headers["etag"]
    assert server.http.get("/api/recycle-bin", headers={"If-None-Match": etag}).status_code == 304
    deleted(server, make(server))
    assert server.http.get("/api/recycle-bin", headers={"If-None-Match": etag}).status_code == 200


def test_emptying_during_training_does_not_bring_the_directory_back(serve: Serve, tmp_path: Path) -> None:
    server = serve(tmp_path / "r", "--rate-limit", "off")
    wait_until_live(server)
    run = rn.Run("vision", server.root, None, "resnet", False)
    run.log(loss=1.0)
    wait_until(lambda: run.id in listed(server))
    deleted(server, run.id)
    assert post(server, "recycle-bin/empty", confirm=True).json()["permanently_deleted"] == 1
    for _ in range(3):
        run.log(loss=1.0)
        run.log_text("still here")
        run.summary({"a": 1})
    run.finish()
    assert not run.run_dir.exists()
    assert (listed(server), in_bin(server)) == ([], {})


def test_what_a_killed_purge_has_left_is_gone_after_the_next_start(serve: Serve, tmp_path: Path) -> None:
    left = tmp_path / "r" / ".runicorn" / "purging" / "0123456789abcdef"
    make_run(left.parent, left.name, events="x\n")
    server = serve(tmp_path / "r")
    wait_until(lambda: not left.exists())
    assert listed(server) == []


def test_what_was_decided_outlives_the_state(serve: Serve, tmp_path: Path) -> None:
    arguments = ("--rate-limit", "off", "--state-dir", str(tmp_path / "state"))
    server = serve(tmp_path / "r", *arguments)
    wait_until_live(server)
    ids = [make(server) for _ in range(4)]
    deleted(server, *ids[:3])
    post(server, "recycle-bin/restore", run_ids=ids[:1])
    post(server, "experiments/tag", run_id=ids[3], tags=["kept"])
    before = (listed(server), in_bin(server), server.http.get("/api/experiments/search").json())
    server.stop()
    for name in os.listdir(tmp_path / "state"):
        if name.endswith((".db", ".db-wal", ".db-shm")):
            (tmp_path / "state" / name).unlink()
    again = serve(tmp_path / "r", *arguments)
    wait_until_live(again)
    assert (listed(again), in_bin(again), again.http.get("/api/experiments/search").json()) == before
