"""What a rebuild writes of values and metrics is what following the streams writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runicorn.projection.model import ReadModel
from runicorn.projection.rebuild import rebuild
from tests.projecting import runs_host
from tests.run_values import actual_values, expected_values
from tests.stores import make_run, metrics_event


@pytest.mark.parametrize("processes", [0, 1])
def test_values_are_written_at_the_end_of_a_rebuild(tmp_path: Path, processes: int) -> None:
    root, state = tmp_path / "root", tmp_path / "state"
    for number, steps in enumerate([[1, 2, 3], [1, 2, 1, 5], [10**30, 2], []]):
        created = {"run_id": f"r{number}", "project": "p", "name": "n", "created_at": 5.0}
        lines = [{"ts": 5.0, "type": "run.created", "data": created}]
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
