"""V2 batch-delete, and what V1 and V2 say after commands: always the same."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from runicorn.sdk.run import Run
from tests.archives import tar_of
from tests.serving import Server, serve, wait_until
from tests.stores import make_run, metrics_event

__all__ = ["serve"]

DELETE = "/api/v2/experiments/batch-delete"


def ids(number: int) -> str:
    return f"20250114_0000{number:02}_abcdef"


def listed(server: Server, **query: object) -> dict[str, Any]:
    response = server.http.get("/api/v2/experiments", params={"per_page": 1000, **query})
    assert response.status_code == 200, response.text
    return response.json()


def found(server: Server, **query: object) -> set[str]:
    return {item["id"] for item in listed(server, **query)["experiments"]}


def v1(server: Server) -> set[str]:
    return {item["id"] for item in server.http.get("/api/runs").json()}


@pytest.fixture
def server(serve: Callable[..., Server], tmp_path: Path) -> Iterator[Server]:
    for number in range(4):
        status = {"status": "running" if number == 3 else "finished"}
        meta = {"project": "p", "name": "n", "created_at": 5.0, "hostname": "elsewhere", "pid": 5}
        make_run(tmp_path / "root", f"p/n/runs/{ids(number)}", meta=meta, status=status, events=metrics_event())
    make_run(tmp_path / "root", "p/n/runs/custom", meta={"project": "p", "name": "n", "created_at": 5.0})
    server = serve(tmp_path / "root", "--rate-limit", "off")
    wait_until(lambda: len(v1(server)) == 5, "the runs")
    return server


def test_runs_are_deleted_as_v1_deletes_them(server: Server) -> None:
    wanted = [ids(3), ids(0), ids(3), "custom", "20250101_000000_aaaaaa"]
    answer = server.http.post(DELETE, json={"exp_ids": wanted, "reason": "cleanup", "other": 1})
    assert answer.status_code == 200
    assert answer.json() == {
        "deleted": 3,
        "failed": 1,
        "results": {ids(3): True, ids(0): True, "custom": True, "20250101_000000_aaaaaa": False},
        "deleted_count": 3,
        "message": "Soft deleted 3 of 4 runs",
    }
    assert list(answer.json()["results"]) == [ids(3), ids(0), "custom", "20250101_000000_aaaaaa"]
    assert v1(server) == found(server) == {ids(1), ids(2)}
    marker = json.loads((server.root / f"p/n/runs/{ids(3)}/.deleted").read_text())
    assert (marker["reason"], marker["original_status"]) == ("cleanup", "running")
    assert abs(marker["deleted_at"] - time.time()) < 60
    deleted = server.http.get(f"/api/v2/experiments/{ids(3)}").json()["experiment"]
    assert (deleted["deleted_at"], deleted["delete_reason"]) == (marker["deleted_at"], "cleanup")
    again = server.http.post(DELETE, json={"exp_ids": [ids(0), "custom"]}).json()
    assert (again["deleted"], again["failed"]) == (0, 2)


def test_without_a_reason_it_is_the_default(server: Server) -> None:
    assert server.http.post(DELETE, json={"exp_ids": [ids(1)], "reason": None}).json()["deleted"] == 1
    assert server.http.get(f"/api/v2/experiments/{ids(1)}").json()["experiment"]["delete_reason"] == "user_batch_delete"


LATE = "Invalid value for reason: must be a string of at most 500 characters"
NO_LIST = "Invalid value for exp_ids: must be a list of strings"
TOO_MANY = "Cannot delete more than 1000 experiments at once"
NO_OBJECT = "Request body must be a JSON object"


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", NO_OBJECT),
        (b"{", NO_OBJECT),
        (b"[]", NO_OBJECT),
        (b"null", NO_OBJECT),
        ({}, "exp_ids is required"),
        ({"exp_ids": None, "reason": 5}, "exp_ids is required"),
        ({"exp_ids": []}, "exp_ids is required"),
        ({"exp_ids": ""}, "exp_ids is required"),
        ({"exp_ids": "20250114_000000_abcdef"}, NO_LIST),
        ({"exp_ids": 5}, NO_LIST),
        ({"exp_ids": 0}, NO_LIST),
        ({"exp_ids": False}, NO_LIST),
        ({"exp_ids": {}}, NO_LIST),
        ({"exp_ids": [ids(0), ["x"]]}, NO_LIST),
        ({"exp_ids": [5] * 1001}, NO_LIST),
        ({"exp_ids": [ids(0)] * 1001, "reason": 5}, TOO_MANY),
        ({"exp_ids": ["x"] * 1001}, TOO_MANY),
        (
            {"exp_ids": [ids(0), "nope"], "reason": 5},
            "Invalid run_id format: nope. Expected format: YYYYMMDD_HHMMSS_XXXXXX",
        ),
        ({"exp_ids": [ids(0)], "reason": 5}, LATE),
        ({"exp_ids": [ids(0)], "reason": "x" * 501}, LATE),
    ],
)
def test_what_cannot_be_understood_deletes_nothing(server_of_module: Server, body: Any, detail: str) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = server_of_module.http.post(DELETE, content=content, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["detail"]) == (400, detail)
    assert v1(server_of_module) == {ids(0)}


@pytest.fixture(scope="module")
def server_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    base = tmp_path_factory.mktemp("v2-commands")
    make_run(base / "root", f"p/n/runs/{ids(0)}", meta={"project": "p", "name": "n", "created_at": 5.0})
    server = Server(base / "root", "--rate-limit", "off", environment={"XDG_CONFIG_HOME": str(base / "config")})
    wait_until(lambda: v1(server) == {ids(0)}, "the run")
    yield server
    server.stop()


def test_a_thousand_ids_pass(server_of_module: Server) -> None:
    many = [f"20240101_{number:06}_abcdef" for number in range(1000)]
    answer = server_of_module.http.post(DELETE, json={"exp_ids": many, "reason": "x" * 500})
    assert answer.json()["failed"] == 1000
    assert not any(answer.json()["results"].values())


def test_the_command_has_its_own_limit(serve: Callable[..., Server]) -> None:
    assert serve(None).http.post(DELETE).headers["x-ratelimit-limit"] == "10"


SHARED = ("id", "run_dir", "project", "name", "status", "pid", "created_time", "best_metric_name", "best_metric_value")


def new_id() -> str:
    return f"{time.strftime('%Y%m%d_%H%M%S')}_{time.monotonic_ns() % (1 << 24):06x}"


class Commands(RuleBasedStateMachine):
    """Whatever is logged, deleted, restored and removed: both APIs list the same."""

    server: Server
    base: Path

    def __init__(self) -> None:
        super().__init__()
        self.expected: dict[str, str] = {}
        """Status by id of the runs that are listed."""
        self.deleted: dict[str, str] = {}
        self.recording: dict[str, Run] = {}
        """Runs of this process, until they end."""
        for folder in [*self.server.root.glob("p/n/runs/*")]:
            shutil.rmtree(folder)
        wait_until(lambda: not found(self.server, include_deleted="true"), "an empty store")

    @rule(status=st.sampled_from(["finished", "failed", "odd one"]), value=st.sampled_from([None, 0.5]))
    def create(self, status: str, value: float | None) -> None:
        run_id = new_id()
        summary = {} if value is None else {"best_metric_value": value, "best_metric_name": "acc"}
        meta = {"project": "p", "name": "n", "created_at": time.time()}
        events = metrics_event(loss=1.0, global_step=1)
        make_run(
            self.server.root, f"p/n/runs/{run_id}", meta=meta, status={"status": status}, summary=summary, events=events
        )
        self.expected[run_id] = status
        wait_until(lambda: self.server.http.get(f"/api/v2/experiments/{run_id}").status_code == 200, "the run")

    @rule(status=st.sampled_from(["finished", "interrupted"]), value=st.sampled_from([None, 0.5]))
    def import_archive(self, status: str, value: float | None) -> None:
        run_id = new_id()
        files = {
            "meta.json": {"project": "p", "name": "n", "created_at": 1.5},
            "status.json": {"status": status},
            "summary.json": {} if value is None else {"best_metric_value": value, "best_metric_name": "acc"},
        }
        packed = {f"p/n/runs/{run_id}/{name}": json.dumps(content).encode() for name, content in files.items()}
        events = metrics_event(loss=1.0, global_step=1).encode()
        archive = tar_of({**packed, f"p/n/runs/{run_id}/events.jsonl": events})
        answer = self.server.http.post("/api/import/archive", files={"file": ("runs.tar.gz", archive)}).json()
        assert answer["new_run_ids"] == [run_id], answer
        self.expected[run_id] = status

    @rule()
    def begin(self) -> None:
        run = Run("p", self.server.root, name="n", capture_env=False)
        run.set_primary_metric("acc")
        self.recording[run.id], self.expected[run.id] = run, "running"
        wait_until(lambda: self.server.http.get(f"/api/v2/experiments/{run.id}").status_code == 200, "the run")

    @rule(data=st.data(), value=st.floats(0, 1))
    def log(self, data: st.DataObject, value: float) -> None:
        if self.recording:
            self.recording[data.draw(st.sampled_from(sorted(self.recording)))].log({"acc": value})

    @rule(data=st.data(), status=st.sampled_from(["finished", "failed"]))
    def finish(self, data: st.DataObject, status: str) -> None:
        if self.recording:  # in the recycle bin, too
            run_id = data.draw(st.sampled_from(sorted(self.recording)))
            self.recording.pop(run_id).finish(status)
            (self.expected if run_id in self.expected else self.deleted)[run_id] = status

    @rule(data=st.data())
    def finish_as_0_4_0_does(self, data: st.DataObject) -> None:
        chosen = sorted(self.expected.keys() - self.recording.keys())
        if chosen:
            run_id = data.draw(st.sampled_from(chosen))
            self.expected[run_id] = "interrupted"
            status = {"status": "interrupted", "ended_at": time.time()}
            (self.server.root / "p/n/runs" / run_id / "status.json").write_text(json.dumps(status))

    @rule(data=st.data(), by=st.sampled_from(["V1", "V2"]))
    def delete(self, data: st.DataObject, by: str) -> None:
        if self.expected:
            chosen = data.draw(st.lists(st.sampled_from(sorted(self.expected)), min_size=1, unique=True))
            if by == "V1":
                answer = self.server.http.post("/api/runs/soft-delete", json={"run_ids": chosen}).json()
                assert answer["deleted_count"] == len(chosen), answer
            else:
                answer = self.server.http.post(DELETE, json={"exp_ids": chosen}).json()
                assert answer["deleted"] == len(chosen), answer
            for run_id in chosen:
                self.deleted[run_id] = self.expected.pop(run_id)
            assert found(self.server) == v1(self.server) == set(self.expected)  # at once

    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        if self.deleted:
            chosen = data.draw(st.lists(st.sampled_from(sorted(self.deleted)), min_size=1, unique=True))
            answer = self.server.http.post("/api/recycle-bin/restore", json={"run_ids": chosen}).json()
            assert answer["restored_count"] == len(chosen), answer
            for run_id in chosen:
                self.expected[run_id] = self.deleted.pop(run_id)
            assert found(self.server) == v1(self.server) == set(self.expected)  # at once

    @rule()
    def empty(self) -> None:
        for run_id in self.recording.keys() & self.deleted.keys():
            self.recording.pop(run_id).finish()
        answer = self.server.http.post("/api/recycle-bin/empty", json={"confirm": True}).json()
        assert (answer["permanently_deleted"], answer["failed"]) == (len(self.deleted), []), answer
        self.deleted.clear()
        assert found(self.server, include_deleted="true") == v1(self.server) == set(self.expected)  # at once

    @rule(data=st.data())
    def restore_as_0_4_0_does(self, data: st.DataObject) -> None:
        if self.deleted:
            run_id = data.draw(st.sampled_from(sorted(self.deleted)))
            (self.server.root / "p/n/runs" / run_id / ".deleted").unlink()
            self.expected[run_id] = self.deleted.pop(run_id)

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        chosen = sorted(self.deleted.keys() - self.recording.keys())
        if chosen:
            run_id = data.draw(st.sampled_from(chosen))
            shutil.rmtree(self.server.root / "p/n/runs" / run_id)
            del self.deleted[run_id]

    def teardown(self) -> None:
        for run in self.recording.values():
            run.finish()

    @invariant()
    def both_list_the_same(self) -> None:
        def agreed() -> bool:
            first = {item["id"]: item for item in self.server.http.get("/api/runs").json()}
            second = {item["id"]: item for item in listed(self.server)["experiments"]}
            statuses = {run_id: item["status"] for run_id, item in second.items()}
            if statuses != self.expected or found(self.server, include_deleted="true") != {
                *self.expected,
                *self.deleted,
            }:
                return False
            if first.keys() != second.keys():  # they were asked one after the other
                return False
            return all(first[key][name] == second[key][name] for key in first for name in SHARED)

        wait_until(agreed, "both APIs to list what is there")


@pytest.mark.parametrize(
    ("examples", "steps"), [(4, 10), pytest.param(30, 30, marks=[pytest.mark.slow(30), pytest.mark.timeout(1200)])]
)
def test_after_any_sequence_of_commands_v1_and_v2_list_the_same(tmp_path: Path, examples: int, steps: int) -> None:
    server = Server(tmp_path / "root", "--rate-limit", "off", environment={"XDG_CONFIG_HOME": str(tmp_path / "config")})
    try:
        machine = type("Machine", (Commands,), {"server": server, "base": tmp_path})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                suppress_health_check=list(HealthCheck),
                deadline=None,
            ),
        )
    finally:
        server.stop()


@pytest.mark.slow(3)
def test_a_rebuilt_read_model_answers_the_same(serve: Callable[..., Server], tmp_path: Path) -> None:
    root = tmp_path / "root"
    for number in range(6):
        steps = [1, 2, 3, 2, 4] if number % 2 else [1, 2, 3]
        events = "".join(metrics_event(step, loss=step / (number + 1), global_step=step) for step in steps)
        meta = {"project": "p", "name": "n", "created_at": 5.0 + number}
        status = {"status": ["finished", "odd"][number % 2], "started_at": 5.0, "ended_at": 9.0}
        make_run(root, f"p/n/runs/run{number}", meta=meta, status=status, events=events, summary={"a": {"b": number}})

    def answers(server: Server) -> list[Any]:
        wait_until(lambda: len(found(server, include_deleted="true")) == 6, "all runs")
        queries: list[dict[str, str]] = [
            {"include_deleted": "true"},
            {"q": "metric.loss.count >= 4"},
            {"q": "summary.a.b > 2", "order_by": "metric.loss.min"},
        ]
        found_runs = [listed(server, **query)["experiments"] for query in queries]
        details = [server.http.get(f"/api/v2/experiments/run{number}").json() for number in range(6)]
        return [found_runs, details]

    server = serve(root, "--rate-limit", "off")
    wait_until(lambda: len(found(server)) == 6, "all runs")
    assert server.http.post(DELETE, json={"exp_ids": ["run1", "run2"]}).json()["deleted"] == 2
    before = answers(server)
    assert before[1][3]["metrics_summary"] == {
        "total_data_points": 4, "available_metrics": ["loss"], "step_range": {"min": 1, "max": 4},
    }  # fmt: skip
    server.stop()
    shutil.rmtree(root / ".runicorn" / "state")
    assert answers(serve(root, "--rate-limit", "off")) == before


@pytest.mark.slow(2)
def test_paging_by_cursor_finds_every_run_once_while_others_are_added(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    root = tmp_path / "root"

    def add(number: int) -> None:
        meta = {"project": "p", "name": f"n{number % 3}", "created_at": 5.0 + number % 7}
        made = make_run(tmp_path / "made", f"run{number:03}", meta=meta, status={"status": "finished"})
        (root / "p/n/runs").mkdir(parents=True, exist_ok=True)
        made.rename(root / "p/n/runs" / made.name)  # whole at once: a run that is seen half-written moves in the list

    for number in range(0, 60, 2):
        add(number)
    server = serve(root, "--rate-limit", "off")
    wait_until(lambda: len(found(server)) == 30, "all runs")
    added = iter(range(1, 400, 2))
    for query in ({}, {"order_by": "name"}, {"order_by": "ended_at"}, {"status": "finished", "order_desc": "false"}):
        there = found(server)
        seen: list[str] = []
        cursor: dict[str, Any] = {}
        while True:
            answer = listed(server, **{**query, "per_page": 4, **cursor})
            seen += [item["id"] for item in answer["experiments"]]
            if answer["next_cursor"] is None:
                break
            cursor = {"cursor": answer["next_cursor"]}
            before = len(found(server))
            add(next(added))
            wait_until(lambda before=before: len(found(server)) == before + 1, "a new run")
        assert len(seen) == len(set(seen))
        assert there <= set(seen)


def test_without_readable_read_models_every_route_is_unavailable(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve(None, "--without", "runs")
    for path in (
        "", "/x", "/../analytics/summary", "/../analytics/overview", "/../analytics/projects", "/../analytics/health",
        "/../analytics/performance-trends?metric_name=a",
    ):  # fmt: skip
        response = server.http.get(f"/api/v2/experiments{path}")
        assert response.status_code == 503, path
    assert server.http.post(DELETE, json={"exp_ids": [ids(1)]}).status_code == 503
