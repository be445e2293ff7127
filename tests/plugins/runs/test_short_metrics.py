"""Which metrics are answered on the event loop: few, in every respect."""

from __future__ import annotations

import json
from pathlib import Path

from runicorn.columns import rows_by_step
from runicorn_runs.routes.metrics import short_answer
from tests.projecting import InProcess
from tests.reference_metrics import metrics_step
from tests.stores import make_run, metrics_event

KEY = "p/n/runs/a"


def test_few_cells_are_answered_at_once_and_many_in_a_short_file_are_not(tmp_path: Path) -> None:
    few = make_run(tmp_path, KEY, events="".join(metrics_event(global_step=n, x=n / 2) for n in range(900)))
    make_run(
        tmp_path, "p/n/runs/wide", events="".join(metrics_event(global_step=n, **{f"m{n}": 1}) for n in range(400))
    )
    running = InProcess(tmp_path, tmp_path / "state")
    running.work()
    answer = short_answer(running.db, KEY, rows_by_step)
    assert answer is not None
    assert json.loads(answer) == metrics_step(few / "events.jsonl")
    assert short_answer(running.db, "p/n/runs/wide", rows_by_step) is None
    running.projector.close()
