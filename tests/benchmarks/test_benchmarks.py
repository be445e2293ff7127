"""The benchmarks run, measure every row, and compare things that are equal."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.baseline import list_runs, metrics_step
from benchmarks.client import Client
from benchmarks.rows import BENCHMARKS
from benchmarks.served import serving
from benchmarks.store import Shape, write_store
from benchmarks.table import Row, markdown

TOP = Path(__file__).parents[2]
PARTS = 3
"""All rows, one after the other, would take longer than any other test."""


def run_benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", "--size", "tiny", *arguments]
    return subprocess.run(command, cwd=TOP, capture_output=True, text=True, timeout=300)


@pytest.mark.slow(40)
@pytest.mark.parametrize("part", range(PARTS))
def test_the_tiny_size_measures_every_row(tmp_path: Path, part: int) -> None:
    names = list(BENCHMARKS)[part::PARTS]
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- table: begin -->\nan earlier table\n<!-- table: end -->\nafter\n")
    done = run_benchmarks("--rows", ",".join(names), "--json", str(tmp_path / "figures.json"), "--doc", str(page))
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    figures = json.loads((tmp_path / "figures.json").read_text())
    rows: list[dict[str, Any]] = figures["rows"]
    assert {row["name"] for row in rows} == set(names)
    table = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(rows)
    assert all(value >= 0 for row in rows for value in row.get("values", {}).values())
    if "runs" in names:
        unchanged = next(row for row in rows if "304" in row["what"])
        assert unchanged["ratio"] > 1  # against reading three hundred files
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert table[2] in text
    assert "an earlier table" not in text


def test_an_unknown_row_is_an_error_that_lists_the_rows() -> None:
    done = run_benchmarks("--rows", "metrics-step,nonsense")
    assert done.returncode == 2
    assert "nonsense" in done.stderr
    assert "replay-short" in done.stderr


@pytest.mark.parametrize("writer", ["0.4.0", "sdk"])
def test_server_and_baseline_give_the_same_answers(writer: Any, tmp_path: Path) -> None:
    root = tmp_path / "root"
    runs = write_store(root, Shape(runs=12, events=30, metrics=4, writer=writer))
    with serving(root, tmp_path / "state") as server:
        client = Client(server.url)
        server.wait_until_level(client, len(runs))
        assert json.loads(client.get("/api/runs").body) == json.loads(list_runs(root))
        for run in runs:
            answer = client.get(f"/api/runs/{run.run_id}/metrics_step")
            assert json.loads(answer.body) == json.loads(metrics_step(root / run.key / "events.jsonl"))
        client.close()


def test_what_the_sdk_would_write_is_known_from_events_alone(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write_store(root, Shape(runs=12, events=3, metrics=1, writer="sdk"))
    with serving(root, tmp_path / "state") as server:
        client = Client(server.url)
        server.wait_until_level(client, 12)
        client.close()
    assert list((root / ".runicorn" / "log").glob("*.jsonl")) == []


def test_a_store_depends_on_nothing_but_shape_and_seed(tmp_path: Path) -> None:
    def events(name: str, seed: int) -> dict[str, bytes]:
        runs = write_store(tmp_path / name, Shape(runs=5, events=40, metrics=3, writer="0.4.0", seed=seed))
        return {run.key: (tmp_path / name / run.key / "events.jsonl").read_bytes() for run in runs}

    assert events("one", 1) == events("same", 1)
    assert events("other", 2).keys().isdisjoint(events("again", 1))


def test_the_table_says_whether_a_budget_is_met() -> None:
    rows = [
        Row(name="a", what="x|y", budget="≤ 1 ms", measured="2 ms", baseline="30 ms", ratio=15.0, met=False),
        Row(name="b", what="z", measured="1"),
    ]
    assert markdown(rows).splitlines()[2:] == [
        "| x\\|y | ≤ 1 ms | 2 ms | **no** | 30 ms | 15× |",
        "| z | – | 1 | – | – | – |",
    ]
