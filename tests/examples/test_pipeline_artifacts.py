"""The example pipeline promotes its best model, and its lineage is the one that the documentation shows."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from runicorn.artifacts import LineageTracker, create_artifact_storage
from tests.recorded import recorded

__all__ = ["recorded"]

TOP = Path(__file__).parents[2]
SCRIPT = TOP / "examples" / "pipeline_artifacts.py"


def test_the_best_model_is_in_production_and_its_history_is_known(tmp_path: Path) -> None:
    root = tmp_path / "root"
    out = subprocess.run(
        [sys.executable, str(SCRIPT), str(root)], check=True, timeout=60, capture_output=True, text=True
    )
    match = re.search(r"classifier:v(\d) is in production\.", out.stdout)
    assert match is not None
    best = int(match[1])
    assert best == 3  # one number, or two, say less of a wine than all of them
    storage = create_artifact_storage(root)
    accuracies = json.loads((storage.download_artifact("report", "custom", 1) / "report.json").read_text())
    assert accuracies["v1"] < accuracies["v2"] < accuracies["v3"] < 1
    versions = storage.list_versions("classifier")
    assert [item.version for item in versions] == [1, 2, 3]
    assert [item.version for item in versions if "production" in item.aliases] == [best]
    graph = LineageTracker(root).build_lineage_graph("wines", "dataset", 1)
    assert {node.node_id for node in graph.nodes if node.node_type == "artifact"} == {
        "wines:v1", "classifier:v1", "classifier:v2", "classifier:v3", "report:v1",
    }  # fmt: skip
    shown = subprocess.run(
        [sys.executable, "-m", "runicorn", "artifacts", "lineage", "wines:v1", "--format", "mermaid", "--storage", root],
        check=True, timeout=60, capture_output=True, text=True,
    ).stdout  # fmt: skip
    drawing = re.sub(r"run \S+ \(([^)]*)\)", r"\1", shown)
    assert f"```mermaid\n{drawing}```" in (TOP / "docs" / "artifacts.md").read_text()


def test_the_data_are_those_of_the_recorded_store(recorded: Path) -> None:
    stored = np.load(recorded / "artifacts/dataset/wine-dataset/v1/files/wine.npz")
    rows = np.loadtxt(TOP / "examples/data/wine.csv", delimiter=",", skiprows=1)
    assert np.array_equal(rows[:, 1:], stored["x"])
    assert np.array_equal(rows[:, 0] - 1, stored["y"])
