"""`GET /api/v2/experiments/{exp_id}/metrics/fast` and `POST /api/v2/metrics/compare` over real HTTP."""

from __future__ import annotations

import csv
import io
import json
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.recorded import wait_until_live
from tests.reference_plots import expected_columns, expected_rows, extremes
from tests.serving import Server
from tests.stores import make_run, metrics_event

RUNS = ("hostile", "long", "silent", "texts", "deleted", "falling", "one")
LONG = 30_000
BAD_RANGE = "Invalid step_range format, use 'min:max'"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A run of any content, a long one, one without metrics, one with texts only, one in the recycle bin."""
    root = tmp_path_factory.mktemp("fast") / "root"
    choose = random.Random(5)
    hostile = [
        metrics_event(global_step=3, loss=1.5, acc=True, stage="a"),
        metrics_event(global_step=3, loss=float("nan")),
        metrics_event(global_step=1, loss="text", big=10**30, note="x"),
        metrics_event(global_step=-7, acc=0.25, time=5.0),
        metrics_event(global_step=10**25, loss=2, epoch=3),
        metrics_event(global_step=9, note="only text", stage="b"),
        metrics_event(global_step=10, nan=float("nan")),
        metrics_event(global_step=11, loss=None, **{"a,b": 1, '=cmd("x")': 2}),
        metrics_event(loss=7),
        '{"ts": 5, "type": "metrics", "data": {"global_step": 12, "loss": -1e400, "list": [1]}}\n',
    ]
    make_run(root, "p/n/runs/hostile", events="".join(hostile))
    values = [choose.gauss(0, 1) for _ in range(LONG)]
    values[17_123], values[23_456] = -50.0, 60.0
    long = (
        metrics_event(ts=100.0 + step, global_step=2 * step, loss=value, time=100.0 + step, acc=step / LONG, const=1)
        for step, value in enumerate(values)
    )
    make_run(root, "p/n/runs/long", events="".join(long))
    make_run(root, "p/n/runs/silent")
    make_run(root, "p/n/runs/texts", events=metrics_event(global_step=1, note="a", time=1.0))
    deleted = make_run(root, "p/n/runs/deleted", events=metrics_event(global_step=1, loss=1.0))
    (deleted / ".deleted").write_text(json.dumps({"deleted_at": 1.0, "reason": "x"}))
    falling = (metrics_event(ts=float(i), global_step=20_000 - i // 2, loss=i % 97) for i in range(20_000))
    make_run(root, "p/n/runs/falling", events="".join(falling))
    make_run(root, "p/n/runs/one", events=metrics_event(global_step=4, loss=0.5))
    server = Server(root, "--rate-limit", "off")
    wait_until_live(server)
    yield server
    server.stop()


def events(server: Server, run_id: str) -> Path:
    return server.root / f"p/n/runs/{run_id}/events.jsonl"


def fast(server: Server, run_id: str, **parameters: Any) -> dict[str, Any]:
    answer = server.http.get(f"/api/v2/experiments/{run_id}/metrics/fast", params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("run_id", RUNS)
@pytest.mark.parametrize("names", [None, "loss", "acc, loss,,acc,global_step", "unknown,stage,loss", "time,note,big"])
@pytest.mark.parametrize("steps", [None, "0:20", " -7 : +3 ", "5:1", "100:50000", f"{10**24}:{10**26}"])
def test_columns_rows_and_counts_are_those_of_the_simple_reader(
    server: Server, run_id: str, names: str | None, steps: str | None
) -> None:
    given = {key: value for key, value in (("metric_names", names), ("step_range", steps)) if value is not None}
    answer = fast(server, run_id, **given)
    wanted = (
        None
        if names is None
        else [n for n in dict.fromkeys(p.strip() for p in names.split(",")) if n not in ("", "global_step")]
    )
    bounds = None if steps is None else [int(part) for part in steps.split(":")]
    rows = expected_rows(events(server, run_id), wanted, bounds)
    assert list(answer) == [
        "columns", "rows", "query_time_ms", "total_points", "source_points", "applied_filters"
    ]  # fmt: skip
    assert answer["columns"] == expected_columns(events(server, run_id), wanted)
    assert repr(answer["rows"]) == repr(rows)
    assert answer["total_points"] == answer["source_points"] == len(rows)
    assert {key: answer["applied_filters"][key] for key in ("metrics", "step_range", "downsampled")} == {
        "metrics": wanted,
        "step_range": bounds,
        "downsampled": False,
    }
    assert answer["query_time_ms"] >= 0


@pytest.mark.parametrize("run_id", ["hostile", "long", "falling", "one"])
@pytest.mark.parametrize("most", [1, 2, 3, 4, 5, 7, 8, 100, 1000, 5000, 29_999, 30_000, 10**30])
def test_downsampled_rows_are_real_ones_with_the_ends_and_every_extreme_as_slots_permit(
    server: Server, run_id: str, most: int
) -> None:
    everything = expected_rows(events(server, run_id), None, None)
    answer = fast(server, run_id, downsample=most)
    rows = answer["rows"]
    assert len(rows) == answer["total_points"] == min(most, len(everything))
    assert answer["source_points"] == len(everything)
    assert answer["applied_filters"]["downsampled"] == (len(everything) > most)
    by_step = {row["global_step"]: row for row in everything}
    steps = [row["global_step"] for row in rows]
    assert steps == sorted(steps)
    assert all(by_step[row["global_step"]] == row for row in rows)
    reserved = [everything[-1]["global_step"], everything[0]["global_step"]]
    reserved += extremes(everything, answer["columns"][1:])
    assert set(list(dict.fromkeys(reserved))[:most]) <= set(steps)
    assert fast(server, run_id, downsample=most)["rows"] == rows


@pytest.mark.parametrize("steps", ["101:59000", "8192:16384", "0:1000", "20000:59999", "40000:40002"])
@pytest.mark.parametrize("most", [2, 50, 1000])
def test_a_range_is_applied_before_downsampling(server: Server, steps: str, most: int) -> None:
    low, high = map(int, steps.split(":"))
    everything = expected_rows(events(server, "long"), ["loss", "acc"], [low, high])
    answer = fast(server, "long", step_range=steps, downsample=most, metric_names="loss,acc")
    assert answer["source_points"] == len(everything)
    assert len(answer["rows"]) == min(most, len(everything))
    assert all(row in everything for row in answer["rows"])
    reserved = [everything[-1]["global_step"], everything[0]["global_step"], *extremes(everything, ["loss", "acc"])]
    assert set(list(dict.fromkeys(reserved))[:most]) <= {row["global_step"] for row in answer["rows"]}


def test_unknown_and_deleted_runs(server: Server) -> None:
    answer = server.http.get("/api/v2/experiments/nobody/metrics/fast")
    assert (answer.status_code, answer.json()) == (404, {"detail": "Experiment nobody not found"})
    assert fast(server, "deleted")["rows"] == [{"global_step": 1, "loss": 1.0}]
    assert fast(server, "silent")["columns"] == []
    assert fast(server, "silent", metric_names="a,b")["columns"] == ["global_step", "a", "b"]


@pytest.mark.parametrize(
    ("parameters", "detail"),
    [
        *(({"step_range": text}, BAD_RANGE) for text in ("3:", ":", "3", "1:2:3", "1.5:2", "a:b", "1:２")),
        ({"downsample": "0"}, None),
        ({"downsample": "-1"}, None),
        ({"downsample": "1.5"}, None),
        ({"downsample": "many"}, None),
        ({"x": "epoch"}, "Invalid value for x: must be step, time or wall"),
        ({"smoothing": "1"}, "Invalid value for smoothing: must be at least 0 and less than 1"),
        ({"smoothing": "nan"}, None),
        ({"from": "inf"}, None),
        ({"envelope": "maybe"}, None),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_400(server: Server, parameters: dict[str, str], detail: str | None) -> None:
    answer = server.http.get("/api/v2/experiments/long/metrics/fast", params=parameters)
    assert answer.status_code == 400
    assert isinstance(answer.json()["detail"], str)
    assert detail is None or answer.json()["detail"] == detail


def test_empty_parameters_are_absent(server: Server) -> None:
    empty = {"step_range": "", "metric_names": " , ", "downsample": "", "x": "", "from": ""}
    assert fast(server, "one", **empty)["rows"] == [{"global_step": 4, "loss": 0.5}]
    assert fast(server, "one", metrics="loss", metric_names="")["applied_filters"]["metrics"] == ["loss"]


def test_over_time_rows_are_by_seconds_since_the_first_event(server: Server) -> None:
    answer = fast(server, "long", x="time", **{"from": 10, "to": 12.5})
    assert answer["columns"][:2] == ["global_step", "time"]
    assert [(row["global_step"], row["time"]) for row in answer["rows"]] == [(20, 10.0), (22, 11.0), (24, 12.0)]
    wall = fast(server, "long", x="wall", metrics="loss", **{"from": 110, "to": 25_000}, downsample=50)
    assert (wall["rows"][0]["time"], wall["rows"][-1]["time"]) == (110.0, 25_000.0)
    assert wall["source_points"] == 24_891
    falling = fast(server, "falling", x="time", downsample=100)["rows"]
    assert [row["time"] for row in falling] == sorted(row["time"] for row in falling)


def test_smoothing_is_the_debiased_average_of_all_rows(server: Server) -> None:
    weight, last, expected = 0.9, 0.0, {}
    for count, row in enumerate(expected_rows(events(server, "long"), ["loss"], None), 1):
        last = weight * last + (1 - weight) * row["loss"]
        expected[row["global_step"]] = last / (1 - weight**count)
    for parameters in ({}, {"downsample": 100}):
        answer = fast(server, "long", metrics="loss,const", smoothing=weight, **parameters)
        assert all(math.isclose(row["loss"], expected[row["global_step"]], abs_tol=1e-9) for row in answer["rows"])
        assert {row["const"] for row in answer["rows"]} == {1.0}


@pytest.mark.parametrize("most", [1, 10, 500])
def test_an_envelope_has_the_extremes_of_all_rows_in_its_ranges(server: Server, most: int) -> None:
    everything = expected_rows(events(server, "long"), ["loss"], None)
    envelope = fast(server, "long", metrics="loss", downsample=most, envelope=True)["envelope"]
    starts = envelope["from"]
    assert 1 <= len(starts) <= most
    assert starts[0] == everything[0]["global_step"]
    for start, end, low, high in zip(
        starts, [*starts[1:], math.inf], envelope["min"]["loss"], envelope["max"]["loss"], strict=True
    ):
        values = [row["loss"] for row in everything if start <= row["global_step"] < end]
        assert (low, high) == (min(values), max(values))


def test_an_unchanged_answer_is_304_and_a_new_line_changes_it(server: Server) -> None:
    path = "/api/v2/experiments/one/metrics/fast"
    first = server.http.get(path)
    again = server.http.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    with open(events(server, "one"), "a") as file:
        file.write(metrics_event(global_step=5, loss=0.25))
    new = server.http.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert [row["global_step"] for row in new.json()["rows"]] == [4, 5]
    other = server.http.get(path, headers={"If-None-Match": new.headers["etag"], "Accept": "text/csv"})
    assert other.status_code == 200


def test_csv_is_safe_for_spreadsheets(server: Server) -> None:
    answer = server.http.get("/api/v2/experiments/hostile/metrics/fast", headers={"Accept": "text/csv"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    header, *rows = csv.reader(io.StringIO(answer.text))
    columns = expected_columns(events(server, "hostile"), None)
    assert header == ["'" + name if name.startswith("=") else name for name in columns]
    expected = expected_rows(events(server, "hostile"), None, None)
    assert rows == [["" if row[key] is None else str(row[key]) for key in columns] for row in expected]


def test_arrow_has_the_same_numbers(server: Server) -> None:
    pa = pytest.importorskip("pyarrow")
    headers = {"Accept": "application/vnd.apache.arrow.stream, */*;q=0.1"}
    answer = server.http.get("/api/v2/experiments/long/metrics/fast?downsample=500", headers=headers)
    assert answer.headers["content-type"] == "application/vnd.apache.arrow.stream"
    assert pa.ipc.open_stream(answer.content).read_all().to_pylist() == fast(server, "long", downsample=500)["rows"]
    empty = server.http.get("/api/v2/experiments/silent/metrics/fast", headers=headers)
    assert pa.ipc.open_stream(empty.content).read_all().num_rows == 0


def test_comparing_gives_each_curve_its_own_points(server: Server) -> None:
    body = {"runs": ["long", "nobody", "one", "long", "silent"], "metrics": ["loss", "acc"], "downsample": 50}
    answer = server.http.post("/api/v2/metrics/compare", json=body).json()
    assert [run["id"] for run in answer["runs"]] == ["long", "one", "silent"]
    assert answer["missing"] == ["nobody"]
    loss = answer["runs"][0]["metrics"]["loss"]
    assert len(loss["x"]) == len(loss["y"]) == 50
    assert {-50.0, 60.0} <= set(loss["y"])
    assert (loss["x"][0], loss["x"][-1]) == (0.0, 2.0 * (LONG - 1))
    assert set(answer["runs"][1]["metrics"]) == {"loss"}
    assert answer["runs"][2]["metrics"] == {}


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({}, "Missing required field: runs"),
        ({"runs": []}, "runs is required"),
        ({"runs": [str(i) for i in range(101)]}, "Cannot compare more than 100 runs at once"),
        ({"runs": ["a"], "downsample": 0}, "Invalid value for downsample: must be 1 to 10000"),
        ({"runs": ["a"], "x": "epoch"}, "Invalid value for x: must be step, time or wall"),
        ({"runs": "a"}, None),
        ({"runs": ["a", 1]}, None),
    ],
)
def test_a_comparison_that_cannot_be_meant_is_400(server: Server, body: object, detail: str | None) -> None:
    answer = server.http.post("/api/v2/metrics/compare", json=body)
    assert answer.status_code == 400
    assert detail is None or answer.json()["detail"] == detail
