"""What a rebuild writes of values and metrics is what following the streams writes."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from random import Random
from typing import Any

import apsw
import pytest

from runicorn.events.store import StoreStream
from runicorn.plugin import RunDeleted, RunTagged
from runicorn.projection.model import ReadModel
from runicorn.projection.rebuild import rebuild
from runicorn_runs.projections import run_values
from tests.projecting import InProcess, runs_host
from tests.run_rows import actual_rows
from tests.run_values import actual_values, expected_values
from tests.stores import make_run, metrics_event


@pytest.mark.parametrize("processes", [0, 1])
def test_values_are_written_at_the_end_of_a_rebuild(tmp_path: Path, processes: int) -> None:
    root, state = tmp_path / "root", tmp_path / "state"
    for number, steps in enumerate([[1, 2, 3], [1, 2, 1, 5], [10**30, 2], []]):
        created = {"run_id": f"r{number}", "project": "p", "name": "n", "created_at": 5.0}
        lines: list[dict[str, Any]] = [{"ts": 5.0, "type": "run.created", "data": created}]
        lines.append({"ts": 6.0, "type": "run.summarized", "data": {"update": {"acc": number, "a": {"b": "x"}}}})
        events = "".join(json.dumps(line) + "\n" for line in lines)
        events += "".join(metrics_event(7.0, loss=step / 7, global_step=step) for step in steps)
        make_run(root, f"p/n/runs/r{number}", events=events)
    rebuild(root, state, runs_host(), processes=processes)
    (path,) = state.glob("runs-*.db")
    projections = next(found for plugin, found in runs_host().collect("projections") if plugin.name == "runs")
    model = ReadModel(path, "runs", projections)
    found = actual_values(model.connection)
    assert found == expected_values(model.connection)
    assert [found[f"p/n/runs/r{number}"]["metric_count"] for number in range(4)] == [3, 3, 2, 0]
    assert not model.connection.execute("SELECT 1 FROM run_values_part").fetchall()
    model.close()


def _event(ts: float, kind: str, **data: Any) -> str:
    return json.dumps({"ts": ts, "type": kind, "data": data}) + "\n"


def _value(random: Random) -> Any:
    return random.choice([random.random(), random.randint(-9, 9), math.nan, math.inf, None, "text", True, 10**40])


def _random_events(random: Random, number: int) -> str:
    """Whatever a run may log: steps that ascend, repeat, go back, are missing or huge; images; several configurations."""
    lines = [_event(5.0, "run.created", run_id=f"r{number}", project="p", name="n", created_at=float(number))]
    step = 0
    for at in range(random.choice([0, 3, 30, 300])):
        moves = [1, 1, 1, 1, 0, 2] if number % 3 else [1, 1, 0, -2, -20]
        step += random.choice(moves)
        names = random.sample(["a", "b", "c/d", "time", "stage"], random.randint(0, 3))
        data: dict[str, Any] = {name: _value(random) for name in names}
        if random.random() < 0.9:
            data["global_step"] = step if random.random() < 0.99 else 10**30 * random.choice([-1, 1])
        lines.append(_event(6.0 + at, "metrics", **data))
        if random.random() < 0.1:
            lines.append(_event(6.0, "image", key=f"k{at}", path="media/x.png", step=at))
        if random.random() < 0.05:
            lines.append(_event(6.5, "run.summarized", update={f"s{random.randint(0, 3)}": _value(random)}))
        if random.random() < 0.05:
            config: Any = {"lr": {"x": _value(random)}}
            lines.append(_event(6.5, "run.configured", config=config))
        if random.random() < 0.02:
            lines.append("broken\n")
    if random.random() < 0.5:
        lines.append(_event(400.0, "run.finished", status="finished", ended_at=400.0))
    return "".join(lines)


def _all_rows(model: apsw.Connection) -> dict[str, Any]:
    """All that the plugin `runs` says about runs, under names that are the same in every file."""
    images = model.execute(
        "SELECT name, run_image.offset, ts, key, path, step, caption FROM run_image JOIN stream ON id = stream_id"
    ).fetchall()
    return {
        "values": actual_values(model),
        "runs": actual_rows(model),
        "images": sorted(images, key=lambda row: row[:2]),
        "counts": sorted(model.execute("SELECT * FROM run_count")),
        "parts": model.execute("SELECT * FROM run_values_part").fetchall(),
    }


@pytest.mark.parametrize("seed", range(2))
def test_every_rebuild_ends_in_the_rows_of_a_projector_that_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    random = Random(seed)
    monkeypatch.setattr(run_values, "_AT_ONCE", 7)
    root = tmp_path / "root"
    streams = [_random_events(random, number).splitlines(keepends=True) for number in range(40)]
    for number, lines in enumerate(streams):
        files = {"meta": {"project": "p"}, "status": {"status": "running"}, "summary": {"best_metric_value": number}}
        observed = random.sample(sorted(files), random.randint(0, 3))
        cut = random.randint(0, len(lines))
        make_run(root, f"p/n/runs/r{number}", events="".join(lines[:cut]), **{name: files[name] for name in observed})
        streams[number] = lines[cut:]
    projector = InProcess(root, tmp_path / "followed")
    projector.sweep()  # observes the files: from here on, the store stream speaks of these runs
    for number, lines in enumerate(streams):
        with open(root / f"p/n/runs/r{number}/events.jsonl", "a") as events:
            events.write("".join(lines))
    decided = [
        payload
        for number in random.sample(range(40), 25)
        for payload in [
            RunTagged(run=f"p/n/runs/r{number}", run_id=f"r{number}", tags=["x"]),
            RunDeleted(
                run=f"p/n/runs/r{number}", run_id=f"r{number}", deleted_at=1.0, reason="", original_status="finished"
            ),
        ][: random.randint(1, 2)]
    ]
    StoreStream(projector.log).append(*decided)
    shutil.rmtree(root / "p/n/runs/r7")
    projector.sweep()
    followed = _all_rows(projector.db)
    assert followed["values"] == expected_values(projector.db)
    assert len(followed["values"]) == 39
    assert followed["images"]
    projector.close()
    for processes in (0, 1, 2):
        state = tmp_path / f"rebuilt-{processes}"
        rebuild(root, state, runs_host(), processes=processes)
        (path,) = state.glob("runs-*.db")
        model = apsw.Connection(str(path))
        assert _all_rows(model) == followed
        model.close()
