"""The example training learns, and records that it does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.core.sdk.run_files import data_of, json_of, only_run_in

SCRIPT = Path(__file__).parents[2] / "examples" / "train_numpy.py"


def test_the_training_records_metrics_text_and_summary(tmp_path: Path):
    subprocess.run([sys.executable, str(SCRIPT), str(tmp_path), "200"], check=True, timeout=60)
    run_dir = only_run_in(tmp_path)
    losses = [data["loss"] for data in data_of(run_dir)]
    assert len(losses) == 200
    assert losses[-1] < losses[0]
    assert json_of(run_dir / "status.json")["status"] == "finished"
    summary = json_of(run_dir / "summary.json")
    assert summary["best_metric_name"] == "test_accuracy"
    assert summary["final_loss"] == losses[-1]
    assert "epoch 200: loss" in (run_dir / "logs.txt").read_text()
