"""Similar runs over HTTP: families of runs that were made alike find each other, and say why."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runicorn_query.similar.vector_file import open_to_read
from tests.serving import Server, serve, wait_until
from tests.stores import make_run, metrics_event, write

__all__ = ["serve"]

FAMILIES = 4
RUNS = 12  # of each
ENDED = {"status": "finished", "started_at": 1.0, "ended_at": 2.0}


def events_of(family: int, member: int, *, status: str | None = "finished", config: bool = True, steps: int = 0) -> str:
    choose = random.Random(100 * family + member)
    steps = steps or choose.randrange(40, 120)
    run_id = f"run{family}{member:02}"
    created = {
        "run_id": run_id,
        "project": f"p{family % 2}",
        "name": "n",
        "created_at": 1.7e9 + member,
        "hostname": "elsewhere",
    }
    lines = [json.dumps({"ts": 1.0, "type": "run.created", "data": created}) + "\n"]
    if config:
        settings = {
            "model": f"net{family}",
            "optimizer": {"lr": 10.0 ** -(family + 1) * choose.uniform(0.9, 1.1)},
            "seed": member,
        }
        lines.append(json.dumps({"ts": 1.0, "type": "run.configured", "data": {"config": settings}}) + "\n")
    for step in range(steps):
        progress = step / steps
        values = {
            "loss": (family + 1) * math.exp(-(2 + 3 * family) * progress) + choose.gauss(0, 0.02),
            "acc": min(1.0, progress * (family + 1) + choose.gauss(0, 0.02)),
        }
        lines.append(metrics_event(ts=2.0 + step, global_step=step, **values))
    if status is not None:
        lines.append(
            json.dumps({"ts": 1e3, "type": "run.finished", "data": {"status": status, "ended_at": 1e3}}) + "\n"
        )
    return "".join(lines)


def make(root: Path, family: int, member: int, **how: Any) -> Path:
    return make_run(root, f"p{family % 2}/n/runs/run{family}{member:02}", events=events_of(family, member, **how))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("similar") / "root"
    for family in range(FAMILIES):
        for member in range(RUNS):
            make(root, family, member)
    server = Server(root, "--rate-limit", "off")
    wait_until(lambda: similar(server, "run000")["compared_runs"] == FAMILIES * RUNS, "the vectors")
    yield server
    server.stop()


def similar(server: Server, run_id: str, **parameters: Any) -> dict[str, Any]:
    answer = server.http.get(f"/api/v2/experiments/{run_id}/similar", params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ids(answer: dict[str, Any]) -> list[str]:
    return [run["id"] for run in answer["similar"]]


@pytest.mark.parametrize("weight", [0, 0.3, 0.5, 1])
def test_runs_of_a_family_find_each_other(server: Server, weight: float) -> None:
    right = total = 0
    for family in range(FAMILIES):
        for member in range(RUNS):
            found = ids(similar(server, f"run{family}{member:02}", k=RUNS - 1, metric_weight=weight))
            assert len(set(found)) == RUNS - 1
            assert f"run{family}{member:02}" not in found
            right += sum(run_id.startswith(f"run{family}") for run_id in found)
            total += len(found)
    assert right / total >= 0.97


def test_an_answer_says_what_is_alike(server: Server) -> None:
    answer = similar(server, "run100", k=3)
    assert (answer["id"], answer["k"], answer["metric_weight"]) == ("run100", 3, 0.5)
    for run in answer["similar"]:
        assert run["shared_config"] == {"model": "net1"}
        assert {setting["key"] for setting in run["different_config"]} == {"optimizer.lr", "seed"}
        assert [metric["name"] for metric in sorted(run["closest_metrics"], key=lambda metric: metric["name"])] == [
            "acc",
            "loss",
        ]
        assert run["closest_metrics"] == sorted(run["closest_metrics"], key=lambda metric: metric["distance"])
        expected = 0.5 * run["metric_similarity"] + 0.5 * run["config_similarity"]
        assert run["similarity"] == pytest.approx(expected, abs=2e-4)
        assert (run["project"], run["name"], run["status"]) == ("p1", "n", "finished")
    assert [run["similarity"] for run in answer["similar"]] == sorted(
        (run["similarity"] for run in answer["similar"]), reverse=True
    )


def test_the_weight_decides_which_part_counts(server: Server) -> None:
    for run in similar(server, "run200", k=20, metric_weight=1)["similar"]:
        assert run["similarity"] == run["metric_similarity"]
    for run in similar(server, "run200", k=20, metric_weight=0)["similar"]:
        assert run["similarity"] == run["config_similarity"]


@pytest.mark.parametrize("k", [1, 10, 100])
def test_k_runs_at_most(server: Server, k: int) -> None:
    assert len(similar(server, "run000", k=k)["similar"]) == min(k, FAMILIES * RUNS - 1)


@pytest.mark.parametrize(
    "parameters",
    [
        {"k": "0"},
        {"k": "101"},
        {"k": "x"},
        {"metric_weight": "-0.1"},
        {"metric_weight": "1.01"},
        {"metric_weight": "nan"},
    ],
)
def test_values_out_of_range_are_400(server: Server, parameters: dict[str, str]) -> None:
    answer = server.http.get("/api/v2/experiments/run000/similar", params=parameters)
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(f"Invalid value for {next(iter(parameters))}")


def test_an_unknown_run_is_404(server: Server) -> None:
    answer = server.http.get("/api/v2/experiments/nope/similar")
    assert (answer.status_code, answer.json()) == (404, {"detail": "Experiment nope not found"})


def test_runs_in_the_recycle_bin_are_left_out_but_may_be_asked_about(server: Server) -> None:
    marker = server.root / "p1/n/runs/run300/.deleted"
    marker.write_text(json.dumps({"deleted_at": 1.7e9, "reason": "user_deleted"}))
    wait_until(lambda: "run300" not in ids(similar(server, "run301", k=100)), "the deletion")
    assert ids(similar(server, "run300", k=3))
    marker.unlink()
    wait_until(lambda: "run300" in ids(similar(server, "run301", k=100)), "the restored run")


def stored(state: Path) -> dict[str, tuple[Any, ...]]:
    """What the file of vectors holds, by run."""
    db = open_to_read(state)
    assert db is not None
    rows = db.execute(
        "SELECT key, events, digest, run.listed, curves, vector FROM run JOIN vectors ON vectors.rowid = run.id"
    )
    found = {str(key): tuple(rest) for key, *rest in rows}
    db.close()
    return found


@pytest.mark.slow(5)
def test_vectors_are_a_function_of_the_log(serve: Callable[..., Server], tmp_path: Path) -> None:
    root, state = tmp_path / "root", tmp_path / "root/.runicorn/state"
    make(root, 0, 0)
    make(root, 1, 0, config=False)
    whole = events_of(2, 0, status=None, steps=100)
    lines = whole.splitlines(keepends=True)
    growing = make_run(root, "p0/n/runs/run200", events="".join(lines[:10]))
    server = serve(root, "--rate-limit", "off")
    wait_until(lambda: similar(server, "run000")["compared_runs"] == 3, "the vectors")
    for end in (20, 40, 70, 102):
        write(growing / "events.jsonl", "".join(lines[:end]))
        power = 1 << (end.bit_length() - 1)
        wait_until(
            lambda power=power: stored(state)["p0/n/runs/run200"][0] == power, "the vector of a run that is going"
        )
    make(root, 3, 0, steps=3000)
    make_run(root, "p0/n/runs/empty", summary={"lr": 0.1, "acc": 0.3, "best_metric_value": 1.0})
    wait_until(lambda: len(stored(state)) == 5, "all of them")
    before = stored(state)
    answers = [similar(server, run_id, k=9)["similar"] for run_id in ("run000", "run100", "run200", "run300", "empty")]
    server.stop()
    for file in state.iterdir():
        file.unlink() if file.is_file() else None
    again = serve(root, "--rate-limit", "off")
    wait_until(lambda: similar(again, "run000")["compared_runs"] == 5, "the vectors again")
    assert stored(state) == before
    for run_id, answer in zip(("run000", "run100", "run200", "run300", "empty"), answers, strict=True):
        assert similar(again, run_id, k=9)["similar"] == answer


def test_a_run_without_a_vector_is_compared_all_the_same(serve: Callable[..., Server], tmp_path: Path) -> None:
    root = tmp_path / "root"
    for member in range(3):
        make(root, 0, member)
    server = serve(root, "--rate-limit", "off")
    assert similar(server, "run000")["similar"] == []
    wait_until(lambda: similar(server, "run000")["compared_runs"] == 3, "the vectors")
    make(root, 0, 9)
    wait_until(lambda: server.http.get("/api/v2/experiments/run009").status_code == 200, "the run")
    assert set(ids(similar(server, "run009"))) == {"run000", "run001", "run002"}


def test_a_purged_run_is_forgotten(serve: Callable[..., Server], tmp_path: Path) -> None:
    import shutil

    root = tmp_path / "root"
    for member in range(3):
        make(root, 0, member)
    server = serve(root, "--rate-limit", "off")
    wait_until(lambda: len(ids(similar(server, "run000"))) == 2, "the vectors")
    shutil.rmtree(root / "p0/n/runs/run001")
    wait_until(lambda: ids(similar(server, "run000")) == ["run002"], "the end of a run")
