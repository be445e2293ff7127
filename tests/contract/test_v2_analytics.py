"""V2 analytics: numbers computed from the runs, compared with a count by hand."""

from __future__ import annotations

import json
import math
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serving import Server, serve, wait_until
from tests.stores import make_run, metrics_event

__all__ = ["serve"]

DAY = 86400.0
NOW = time.time()
RUNS: list[dict[str, Any]] = [
    {
        "project": "a",
        "status": "finished",
        "best": ("acc", 0.9, "max"),
        "age": 1,
        "took": 10,
        "losses": [3, 1, math.nan],
    },
    {"project": "a", "status": "finished", "best": ("acc", 0.7, "max"), "age": 2, "took": 20, "losses": [2.0]},
    {"project": "a", "status": "failed", "best": ("zeta", 5.0, "min"), "age": 3, "took": 30, "losses": [math.inf]},
    {"project": "a", "status": "running", "best": None, "age": 1, "took": None, "losses": []},
    {"project": "b", "status": "interrupted", "best": ("loss", 0.5, "min"), "age": 4, "took": 5, "losses": [5, 4]},
    {"project": "b", "status": "odd", "best": ("loss", 0.25, "min"), "age": 5, "took": None, "losses": [-1]},
    {"project": "b", "status": "finished", "best": ("acc", 0.1, None), "age": 100, "took": 7, "losses": [8]},
    {"project": "c", "status": "finished", "best": None, "age": 6, "took": 1, "losses": [9], "deleted": True},
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    base = tmp_path_factory.mktemp("analytics")
    for number, run in enumerate(RUNS):
        created = NOW - run["age"] * DAY
        status: dict[str, Any] = {"status": run["status"], "started_at": created}
        if run["took"] is not None:
            status["ended_at"] = created + run["took"]
        summary = {}
        if run["best"]:
            name, value, mode = run["best"]
            summary = {
                "best_metric_name": name,
                "best_metric_value": value,
                **({"best_metric_mode": mode} if mode else {}),
            }
        meta = {"project": run["project"], "name": "n", "created_at": created, "hostname": "elsewhere", "pid": 5}
        events = "".join(metrics_event(created, loss=loss, global_step=10 * i) for i, loss in enumerate(run["losses"]))
        key = f"{run['project']}/n/runs/run{number}"
        folder = make_run(base / "root", key, meta=meta, status=status, summary=summary, events=events or None)
        if run.get("deleted"):
            (folder / ".deleted").write_text(json.dumps({"deleted_at": NOW, "reason": "x"}))
    make_run(base / "root", "runs/legacy", meta={"created_at": NOW - 60}, status={"status": "finished"})
    server = Server(base / "root", "--rate-limit", "off", environment={"XDG_CONFIG_HOME": str(base / "config")})
    wait_until(lambda: get(server, "summary")["overview"]["total_experiments"] == len(RUNS) + 1, "all runs")
    yield server
    server.stop()


def get(server: Server, name: str, **query: Any) -> dict[str, Any]:
    response = server.http.get(f"/api/v2/analytics/{name}", params=query)
    assert response.status_code == 200, response.text + server.log
    return response.json()


def test_the_summary_counts_runs_and_sizes(server: Server) -> None:
    answer = get(server, "summary")
    overview = answer["overview"]
    assert list(overview) == [
        "total_experiments", "active_experiments", "running_experiments", "success_rate", "avg_experiment_duration",
        "storage_size_mb", "query_performance",
    ]  # fmt: skip
    assert (overview["total_experiments"], overview["active_experiments"], overview["running_experiments"]) == (9, 8, 1)
    assert overview["success_rate"] == round(4 / 6, 4)
    assert overview["avg_experiment_duration"] == pytest.approx(statistics.fmean([10, 20, 30, 5, 7]))
    numbers = answer["storage_info"]["statistics"]
    assert (numbers["total_experiments"], numbers["active_experiments"], numbers["deleted_experiments"]) == (9, 8, 1)
    assert numbers["total_metrics_points"] == 9
    files = [
        path.stat().st_size for path in (server.root / ".runicorn" / "state").glob("*.db*") if "shm" not in path.name
    ]
    assert numbers["storage_size_bytes"] == pytest.approx(sum(files), rel=0.2)
    assert numbers["db_size_mb"] == overview["storage_size_mb"] == round(numbers["storage_size_bytes"] / 2**20, 4)
    assert 0 <= numbers["db_fragmentation_pct"] <= 100
    assert 0 < numbers["cache_hit_rate"] <= 1
    assert NOW - 60 < numbers["updated_at"] < time.time() + 60
    assert answer["storage_info"]["storage_type"] == "hybrid"
    assert answer["storage_info"]["backend_type"] == "SQLiteStorageBackend"
    server.http.get("/api/v2/experiments")
    assert get(server, "overview")["overview"]["query_performance"]["avg_query_time_ms"] > 0


def test_an_empty_store_has_zeros(serve: Callable[..., Server]) -> None:
    server = serve(None)
    wait_until(lambda: server.http.get("/api/v2/analytics/summary").status_code == 200, "the read models")
    answer = get(server, "summary")
    assert answer["storage_info"]["storage_type"] == "empty"
    assert (answer["overview"]["success_rate"], answer["overview"]["avg_experiment_duration"]) == (0.0, 0.0)
    assert get(server, "projects")["projects"] == []
    assert get(server, "health")["health_status"] == "excellent"


def test_projects_are_counted_in_the_period(server: Server) -> None:
    answer = get(server, "projects")
    assert answer["analysis_period_days"] == 30
    first, second, third = answer["projects"]
    created = NOW - DAY
    assert first == {
        "project": "a", "total_experiments": 4, "running": 1, "finished": 2, "failed": 1, "interrupted": 0,
        "success_rate": round(2 / 3, 4), "avg_duration_seconds": pytest.approx(20.0), "best_metric_name": "acc",
        "best_metric_value": 0.9, "best_experiment_id": "run0", "last_activity": pytest.approx(created + 10),
    }  # fmt: skip
    assert (second["project"], second["total_experiments"], second["interrupted"]) == ("b", 2, 1)
    assert (second["best_metric_name"], second["best_metric_value"], second["best_experiment_id"]) == (
        "loss",
        0.25,
        "run5",
    )
    assert second["success_rate"] == 0.0
    assert (third["project"], third["total_experiments"], third["best_metric_name"]) == (None, 1, None)
    counts = {item["project"]: item["total_experiments"] for item in get(server, "projects", days=101)["projects"]}
    assert counts == {"a": 4, "b": 3, None: 1}


def test_of_equal_best_values_the_least_id_counts_also_after_a_rebuild(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    root = tmp_path / "root"
    server = serve(root)
    for run_id in ("b", "a", "c"):  # in the order in which they become known
        summary = {"best_metric_name": "acc", "best_metric_value": 0.5}
        make_run(root, f"p/n/runs/{run_id}", meta={"created_at": NOW}, summary=summary)
        wait_until(lambda run_id=run_id: server.http.get(f"/api/runs/{run_id}").status_code == 200, "the run")

    before = get(server, "projects")["projects"]
    assert [project["best_experiment_id"] for project in before] == ["a"]
    server.stop()
    shutil.rmtree(root / ".runicorn" / "state")
    server = serve(root)
    wait_until(lambda: get_total(server) == 3, "the rebuilt read models")
    assert get(server, "projects")["projects"] == before


def get_total(server: Server) -> object:
    answer = server.http.get("/api/v2/experiments")
    return answer.json()["total"] if answer.status_code == 200 else None


def test_trends_have_the_last_finite_value_of_every_run(server: Server) -> None:
    answer = get(server, "performance-trends", metric_name="loss")
    entries = [(item["experiment_id"], item["step"], item["value"]) for item in answer["trend_data"]]
    assert entries == [("run5", 0, -1.0), ("run4", 10, 4.0), ("run1", 0, 2.0), ("run0", 10, 1.0)]
    values = [value for _, _, value in entries]
    assert answer["statistics"] == {
        "total_experiments": 4,
        "mean_value": pytest.approx(statistics.fmean(values)),
        "std_dev": pytest.approx(statistics.pstdev(values)),
        "min_value": -1.0,
        "max_value": 4.0,
    }
    assert (answer["metric_name"], answer["project"], answer["analysis_period_days"]) == ("loss", None, 30)
    of_project = get(server, "performance-trends", metric_name="loss", project="a", days=2)
    assert [item["experiment_id"] for item in of_project["trend_data"]] in (["run0"], ["run1", "run0"])
    assert of_project["project"] == "a"
    for unknown in ({"metric_name": "none"}, {"metric_name": "loss", "project": "none"}):
        empty = get(server, "performance-trends", **unknown)
        assert (empty["trend_data"], set(empty["statistics"].values())) == ([], {0})


def test_health_tests_a_query(server: Server) -> None:
    answer = get(server, "health")
    assert (answer["health_score"], answer["issues"]) in ((100.0, []), (80.0, answer["issues"]))
    assert answer["performance"]["test_query_time_ms"] > 0
    assert answer["storage"]["total_experiments"] == 9
    assert answer["storage"]["db_size_mb"] > 0


@pytest.mark.parametrize("days", ["0", "3651", "-1", "1.5", "many"])
@pytest.mark.parametrize("name", ["projects", "performance-trends"])
def test_a_period_out_of_range_is_refused(server: Server, name: str, days: str) -> None:
    response = server.http.get(f"/api/v2/analytics/{name}", params={"days": days, "metric_name": "x"})
    assert response.status_code == 400
    assert response.json()["detail"].startswith("Invalid value for days: ")


@pytest.mark.parametrize("query", [{}, {"metric_name": ""}])
def test_trends_need_a_metric(server: Server, query: dict[str, str]) -> None:
    response = server.http.get("/api/v2/analytics/performance-trends", params=query)
    assert (response.status_code, response.json()) == (400, {"detail": "Missing required parameter: metric_name"})


def test_sixty_requests_a_minute(server: Server) -> None:
    for name in ("summary", "overview", "projects", "performance-trends", "health"):
        assert server.http.get(f"/api/v2/analytics/{name}").headers["x-ratelimit-limit"] == "60"
