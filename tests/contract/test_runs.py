"""`GET /api/runs`, `GET /api/runs/{run_id}` and `POST /api/status/check` over real HTTP."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.recorded import wait_until_live
from tests.serving import Server, serve, wait_until
from tests.stores import make_run, metrics_event, write

__all__ = ["serve"]

Serve = Callable[..., Server]
RUN = "20250114_153045_a1b2c3"


def listed(server: Server) -> dict[str, dict]:
    return {run["id"]: run for run in server.http.get("/api/runs").json()}


def serve_live(serve: Serve, root: Path, *arguments: str) -> Server:
    server = serve(root, "--rate-limit", "off", *arguments)
    wait_until_live(server)
    return server


DAMAGE = ["", "{", "[]", "null", "5", '"text"', "\x00\x00", "nonsense", "{}", b"\xff\xfe", b"\xef\xbb\xbf{}"]

BEST_VALUES: list[tuple[object, float | None]] = [
    (0.5, 0.5),
    (True, 1.0),
    ("0.25", 0.25),
    (3, 3.0),
    ("NaN", None),
    ("text", None),
    ([1], None),
    (None, None),
    (10**400, None),
    (float("nan"), None),
    (float("inf"), None),
]


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on a store in which much is odd, for those who only read."""
    root = tmp_path_factory.mktemp("odd") / "root"
    for index, damage in enumerate(DAMAGE):
        files = dict.fromkeys(("meta", "status", "summary", "artifacts_created", "artifacts_used"), damage)
        make_run(root, f"damaged/n/runs/bad{index:02}", events=damage, **files)
    make_run(root, "damaged/n/runs/good", meta={"created_at": 1.0}, status={"status": "failed"})
    for index, (value, _) in enumerate(BEST_VALUES):
        make_run(root, f"best/n/runs/best{index}", summary={"best_metric_value": value, "best_metric_name": "acc"})
    make_run(root, "p/n/runs/a", meta='{"created_at": NaN, "pid": "7", "project": 5, "name": ""}', status={"status": 7})
    make_run(
        root, "p/n/runs/b", meta='{"created_at": 1e400, "pid": true, "project": "\\ud800x"}', status={"status": ""}
    )
    make_run(root, "p/n/runs/c", meta={"pid": 10**30, "created_at": 10**400}, status={"status": None})
    make_run(root, "b/n/runs/same", meta={"created_at": 1.0}, status={"status": "second"})
    make_run(root, "a/n/runs/same", meta={"created_at": 1.0}, status={"status": "first"})
    with Server(root, "--rate-limit", "off") as server:
        wait_until_live(server)
        yield server


def test_an_empty_store_has_an_empty_list(serve: Serve, tmp_path: Path) -> None:
    assert serve_live(serve, tmp_path / "new").http.get("/api/runs").json() == []


def test_an_item_has_exactly_the_fields_of_the_contract(serve: Serve, tmp_path: Path) -> None:
    make_run(tmp_path / "r", f"vision/resnet/runs/{RUN}", meta={"created_at": 5.5, "pid": 7}, summary={"secret": 1})
    server = serve_live(serve, tmp_path / "r")

    assert server.http.get("/api/runs").json() == [
        {
            "id": RUN,
            "run_dir": str(tmp_path / "r/vision/resnet/runs" / RUN),
            "created_time": 5.5,
            "status": "finished",
            "pid": 7,
            "best_metric_value": None,
            "best_metric_name": None,
            "project": "vision",
            "name": "resnet",
            "artifacts_created_count": 0,
            "artifacts_used_count": 0,
        }
    ]
    directory = str(tmp_path / "r/vision/resnet/runs" / RUN)
    assert server.http.get(f"/api/runs/{RUN}").json() == {
        "id": RUN,
        "status": "finished",
        "pid": 7,
        "run_dir": directory,
        "project": "vision",
        "name": "resnet",
        "logs": f"{directory}/logs.txt",
        "metrics": f"{directory}/events.jsonl",
        "metrics_step": f"{directory}/events.jsonl",
        "artifacts_created_count": 0,
        "artifacts_used_count": 0,
    }


def test_damaged_files_leave_nulls_and_hide_no_other_run(odd: Server) -> None:
    runs = {run_id: run for run_id, run in listed(odd).items() if run_id.startswith(("bad", "good"))}
    assert set(runs) == {"good", *(f"bad{index:02}" for index in range(len(DAMAGE)))}
    assert runs["good"]["status"] == "failed"
    for run_id, run in runs.items():
        assert odd.http.get(f"/api/runs/{run_id}").status_code == 200
        if run_id != "good":
            assert (run["status"], run["pid"], run["best_metric_value"]) == ("finished", None, None)
            assert isinstance(run["created_time"], float)


def test_the_best_value_is_coerced_to_a_number_or_null(odd: Server) -> None:
    runs = listed(odd)
    found = [(value, runs[f"best{index}"]["best_metric_value"]) for index, (value, _) in enumerate(BEST_VALUES)]
    assert str(found) == str(BEST_VALUES)  # by text: NaN is not equal to itself
    assert {runs[f"best{index}"]["best_metric_name"] for index in range(len(BEST_VALUES))} == {"acc"}


def test_odd_values_of_meta_and_status_fall_back_one_by_one(odd: Server) -> None:
    runs = listed(odd)
    assert [(runs[r]["pid"], runs[r]["project"], runs[r]["name"], runs[r]["status"]) for r in "abc"] == [
        (None, "p", "n", "7"),
        (None, "\N{REPLACEMENT CHARACTER}x", "n", "finished"),
        (None, "p", "n", "finished"),
    ]


@pytest.mark.slow(2)
def test_both_layouts_custom_ids_unicode_links_and_empty_directories_are_listed(serve: Serve, tmp_path: Path) -> None:
    root = tmp_path / "r"
    make_run(root, "runs/legacy", meta={"project": "old", "created_at": 1.0})
    make_run(root, "runs/without_meta")
    make_run(root, "项目 1/名 字/runs/实验 #1", meta={"created_at": 2.0})
    make_run(root, "empty/one/runs/nothing")
    elsewhere = make_run(tmp_path / "elsewhere", "linked", meta={"created_at": 3.0})
    (root / "links/n/runs").mkdir(parents=True)
    (root / "links/n/runs/link").symlink_to(elsewhere)
    (root / "file/n").mkdir(parents=True)
    (root / "file/n/runs").write_text("not a directory")
    make_run(root, ".runicorn_staging/n/runs/internal")
    make_run(root, "artifacts/model/runs/no_run")
    runs = listed(serve_live(serve, root))
    assert set(runs) == {"legacy", "without_meta", "实验 #1", "nothing", "link"}
    assert (runs["legacy"]["project"], runs["legacy"]["name"]) == ("old", None)
    assert (runs["without_meta"]["project"], runs["实验 #1"]["project"]) == (None, "项目 1")
    assert [run["id"] for run in serve(root).http.get("/api/runs").json()][-2:] == ["without_meta", "legacy"]


def test_unknown_and_malformed_ids_are_404(odd: Server) -> None:
    for run_id in ("nope", "20250101_000000_aaaaaa", "..", "%2e%2e", "a%00b", "x" * 300, "%F0%9F"):
        for path in (f"/api/runs/{run_id}", f"/api/runs/{run_id}/metrics", f"/api/runs/{run_id}/metrics_step"):
            answer = odd.http.get(path)
            assert answer.status_code == 404
            assert set(answer.json()) == {"detail"}
            assert str(odd.root.parent) not in answer.text
    assert odd.http.get("/api/runs/nope").json() == {"detail": "Run not found: nope"}


def test_an_unchanged_list_is_304_and_a_changed_one_is_not(serve: Serve, tmp_path: Path) -> None:
    root = tmp_path / "r"
    directory = make_run(root, "p/n/runs/a", status={"status": "running"}, meta={"hostname": "elsewhere", "pid": 1})
    server = serve_live(serve, root)
    first = server.http.get("/api/runs")
    etag = first.headers["etag"]

    def ask() -> int:
        return server.http.get("/api/runs", headers={"If-None-Match": etag}).status_code

    assert ask() == 304
    with open(directory / "events.jsonl", "a") as file:
        file.write(metrics_event(global_step=1, loss=0.5))
    assert server.http.get("/api/runs/a/metrics_step").json()["rows"][0]["loss"] == 0.5
    assert ask() == 304  # metrics are not in the list
    (directory / "status.json").write_text('{"status": "finished"}')
    wait_until(lambda: ask() == 200)


def test_the_order_does_not_change_when_a_log_line_is_written(serve: Serve, tmp_path: Path) -> None:
    root = tmp_path / "r"
    for name in "abc":
        make_run(root, f"p/n/runs/{name}", meta={"created_at": float(ord(name))})
    server = serve_live(serve, root)
    before = [run["id"] for run in server.http.get("/api/runs").json()]
    write(root / "p/n/runs/a/logs.txt", "12:00:00 | hello\n")
    write(root / "p/n/runs/a/events.jsonl", metrics_event(global_step=1, loss=1.0))
    assert server.http.get("/api/runs/a/metrics_step").json()["rows"]
    assert [run["id"] for run in server.http.get("/api/runs").json()] == before == ["c", "b", "a"]


def test_a_run_directory_that_vanishes_and_comes_back_is_followed(serve: Serve, tmp_path: Path) -> None:
    root = tmp_path / "r"
    directory = make_run(root, "p/n/runs/a", meta={"created_at": 1.0}, events=metrics_event(global_step=1, loss=1.0))
    make_run(root, "p/n/runs/b", meta={"created_at": 2.0})
    server = serve_live(serve, root)
    shutil.move(directory, tmp_path / "kept")
    wait_until(lambda: set(listed(server)) == {"b"})
    assert server.http.get("/api/runs/a/metrics_step").status_code == 404
    shutil.move(tmp_path / "kept", directory)
    wait_until(lambda: set(listed(server)) == {"a", "b"})
    assert server.http.get("/api/runs/a/metrics_step").json()["rows"] == [{"global_step": 1, "loss": 1.0}]


def test_two_runs_with_the_same_id_are_both_listed_and_the_first_is_read(odd: Server) -> None:
    assert [run["id"] for run in odd.http.get("/api/runs").json()].count("same") == 2
    assert odd.http.get("/api/runs/same").json()["status"] == "first"


def test_a_run_that_has_been_silent_for_long_is_shown_as_stale_and_not_rewritten(serve: Serve, tmp_path: Path) -> None:
    root = tmp_path / "r"
    meta = {"created_at": 5.0, "hostname": "elsewhere", "pid": 1}
    silent = make_run(root, "p/n/runs/silent", meta=meta, status={"status": "running"})
    make_run(root, "p/n/runs/busy", meta=meta, status={"status": "running"}, events=metrics_event(ts=time.time()))
    make_run(root, "p/n/runs/ended", meta=meta, status={"status": "finished"})
    server = serve_live(serve, root)

    shown = {run_id: (run.get("stale"), run.get("last_activity")) for run_id, run in listed(server).items()}
    assert shown == {"silent": (True, 5.0), "busy": (None, None), "ended": (None, None)}
    assert [run["status"] for run in listed(server).values()].count("running") == 2
    detail = server.http.get("/api/runs/silent").json()
    assert (detail["status"], detail["stale"], detail["last_activity"]) == ("running", True, 5.0)
    assert "stale" not in server.http.get("/api/runs/busy").json()
    for question in ("", "?q=status = running", "?order_by=name"):
        found = server.http.get(f"/api/v2/experiments{question}").json()["experiments"]
        v2 = {run["id"]: (run.get("stale"), run.get("last_activity")) for run in found}
        assert v2 == {run_id: shown[run_id] for run_id in v2}
        assert "silent" in v2
    assert server.http.get("/api/v2/experiments/silent").json()["experiment"]["last_activity"] == 5.0
    assert json.loads((silent / "status.json").read_text()) == {"status": "running"}

    write(silent / "events.jsonl", metrics_event(ts=time.time()))
    assert "stale" not in server.http.get("/api/runs/silent").json()
    assert "stale" not in server.http.get("/api/v2/experiments/silent").json()["experiment"]
    wait_until(lambda: "stale" not in listed(server)["silent"])


_TRAINER = """
import sys, time
import runicorn
run = runicorn.init("p", sys.argv[1], name="n", capture_env=False)
runicorn.log(loss=1.0)
print(run.id, flush=True)
time.sleep(600)
"""


class TestStatusCheck:
    def meta(self, **fields: object) -> dict[str, object]:
        return {"pid": 1, "hostname": socket.gethostname(), "created_at": 1.0, **fields}

    def gone_pid(self) -> int:
        process = subprocess.Popen([sys.executable, "-c", ""])
        process.wait()
        return process.pid

    def test_a_dead_process_makes_its_run_failed(self, serve: Serve, tmp_path: Path) -> None:
        root = tmp_path / "r"
        running = {"status": "running", "started_at": 1.0, "kept": [1]}
        directory = make_run(root, "p/n/runs/dead", meta=self.meta(pid=self.gone_pid()), status=running)
        server = serve_live(serve, root)

        wait_until(lambda: listed(server)["dead"]["status"] == "failed")
        status = json.loads((directory / "status.json").read_text())
        assert (status["status"], status["exit_reason"], status["kept"]) == ("failed", "process_not_found", [1])
        assert server.http.post("/api/status/check").json() == {
            "checked": 0,
            "updated": 0,
            "message": "Checked 0 running experiments, updated 0 statuses",
        }

    def test_a_killed_trainer_keeps_its_start(self, serve: Serve, tmp_path: Path) -> None:
        root = tmp_path / "r"
        with subprocess.Popen([sys.executable, "-c", _TRAINER, str(root)], stdout=subprocess.PIPE) as trainer:
            assert trainer.stdout is not None
            run_id = trainer.stdout.readline().decode().strip()
            trainer.kill()
        server = serve_live(serve, root)
        server.http.post("/api/status/check")

        (status_file,) = root.glob("p/n/runs/*/status.json")
        status = json.loads(status_file.read_text())
        run = server.http.get(f"/api/v2/experiments/{run_id}").json()["experiment"]
        assert (run["status"], status["status"]) == ("failed", "failed")
        assert (run["started_at"], run["ended_at"]) == (status["started_at"], status["ended_at"])
        assert run["duration_seconds"] == status["ended_at"] - status["started_at"]

    def test_what_cannot_be_known_is_not_judged(self, serve: Serve, tmp_path: Path) -> None:
        root = tmp_path / "r"
        pids = [0, -1, "x", None, 2**40]
        elsewhere = [{"hostname": "elsewhere"}, {"pid_ns": 1}, {"storage_dir": "/data/mirrored"}]
        unknown = [*elsewhere, *({"pid": pid} for pid in pids)]
        for index, fields in enumerate(unknown):
            meta = {**self.meta(pid=self.gone_pid()), **fields}
            make_run(root, f"p/n/runs/{index}", meta=meta, status={"status": "running"})
        make_run(root, "p/n/runs/without_meta", status={"status": "running"})
        server = serve_live(serve, root)

        assert server.http.post("/api/status/check").json()["updated"] == 0
        assert {run["status"] for run in listed(server).values()} == {"running"}
        for path in root.glob("p/n/runs/*/status.json"):
            assert json.loads(path.read_text()) == {"status": "running"}

    def test_a_reused_process_id_is_recognized(self, serve: Serve, tmp_path: Path) -> None:
        root = tmp_path / "r"
        cases = {
            "other_ticks": ({"pid_start_ticks": 1}, "failed"),
            "other_boot": ({"boot_id": "another boot"}, "failed"),
            "machine_of_the_same_name": ({"boot_id": "another boot", "pid_started_at": time.time() + 100}, "running"),
            "other_start": ({"pid_started_at": 1.0}, "failed"),
            "process_is_younger_than_the_run": ({}, "failed"),
            "process_is_older_than_the_run": ({"created_at": 4e9}, "running"),
        }
        for run_id, (fields, _) in cases.items():
            meta = self.meta(pid=os.getpid(), **fields)
            make_run(root, f"p/n/runs/{run_id}", meta=meta, status={"status": "running"})
        server = serve_live(serve, root)
        server.http.post("/api/status/check")
        found = {run_id: run["status"] for run_id, run in listed(server).items()}
        assert found == {run_id: status for run_id, (_, status) in cases.items()}

    def test_a_zombie_is_gone(self, serve: Serve, tmp_path: Path) -> None:
        root = tmp_path / "r"
        process = subprocess.Popen([sys.executable, "-c", ""])  # not waited for until the end
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        make_run(root, "p/n/runs/a", meta=self.meta(pid=process.pid, created_at=4e9), status={"status": "running"})
        server = serve_live(serve, root)
        server.http.post("/api/status/check")
        assert listed(server)["a"]["status"] == "failed"
        process.wait()
