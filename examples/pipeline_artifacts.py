"""A pipeline of artifacts with NumPy alone: prepare → train three times → evaluate → promote the best.

`python pipeline_artifacts.py [STORAGE]`. Wines are told apart by their chemistry (see `data/README.md`). Each step is a
run; what it makes and uses is the lineage of the model.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

import runicorn as rn

PROJECT = "wine"
SOURCE = Path(__file__).parent / "data" / "wine.csv"
COMPONENTS = (1, 2, 13)
CULTIVARS = 3


def prepare(storage: str | None, folder: Path) -> None:
    """Split the wines: every third one is for the evaluation, the others are for training."""
    with rn.init(PROJECT, storage, name="prepare"):
        rows = np.loadtxt(SOURCE, delimiter=",", skiprows=1)
        is_test = np.arange(len(rows)) % 3 == 2
        for split, chosen in (("train", ~is_test), ("test", is_test)):
            np.savez(folder / f"{split}.npz", x=rows[chosen, 1:], y=rows[chosen, 0].astype(int) - 1)
        rn.log_artifact(folder, name="wines", type="dataset", metadata={"rows": len(rows)})


def features(model: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """The wines on the first principal components, and a constant: shape (wines, components + 1)."""
    standard = (x - model["mean"]) / model["scale"]
    return np.column_stack([standard @ model["directions"], np.ones(len(x))])


def accuracy(model: dict[str, np.ndarray], x: np.ndarray, y: np.ndarray) -> float:
    """The share of wines whose cultivar is found."""
    return float(np.mean((features(model, x) @ model["weights"]).argmax(axis=1) == y))


def train(storage: str | None, folder: Path, components: int) -> None:
    """Fit a linear classifier, and save it as the next version of the model."""
    with rn.init(PROJECT, storage, name=f"train-components-{components}"):
        data = np.load(rn.use_artifact("wines:latest").download() / "train.npz")
        x, y = data["x"], data["y"]
        model = {"mean": x.mean(axis=0), "scale": x.std(axis=0)}
        directions = np.linalg.svd((x - model["mean"]) / model["scale"], full_matrices=False)[2]
        model["directions"] = directions[:components].T
        inputs = features(model, x)
        gram = inputs.T @ inputs + np.eye(components + 1)
        model["weights"] = np.linalg.solve(gram, inputs.T @ np.eye(CULTIVARS)[y])
        rn.summary({"components": components, "train_accuracy": accuracy(model, x, y)})
        np.savez(folder / "model.npz", **model)
        rn.log_artifact(folder / "model.npz", name="classifier", type="model", metadata={"components": components})


def evaluate_and_promote(storage: str | None, folder: Path) -> int:
    """Compare all versions of the model on wines that they have not seen, and promote the best one."""
    with rn.init(PROJECT, storage, name="evaluate") as run:
        test = np.load(rn.use_artifact("wines:latest").download() / "test.npz")
        accuracies: dict[int, float] = {}
        for version in range(1, len(COMPONENTS) + 1):
            model = np.load(rn.use_artifact(f"classifier:v{version}").download() / "model.npz")
            accuracies[version] = accuracy(dict(model), test["x"], test["y"])
        best = max(accuracies, key=accuracies.__getitem__)
        rn.summary({"best_version": best, "test_accuracy": accuracies[best]})
        report = folder / "report.json"
        report.write_text(json.dumps({f"v{version}": value for version, value in accuracies.items()}))
        rn.log_artifact(report, name="report", type="custom", metadata={"best": f"classifier:v{best}"})
        for stage in ("staging", "production"):
            run.artifact_storage.promote_artifact_version("classifier", "model", best, stage, evaluator_run_id=run.id)
    return best


def main(storage: str | None = None) -> None:
    for step in (prepare, *(lambda s, f, n=number: train(s, f, n) for number in COMPONENTS)):
        with tempfile.TemporaryDirectory() as folder:
            step(storage, Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        best = evaluate_and_promote(storage, Path(folder))
    print(f"classifier:v{best} is in production.")


if __name__ == "__main__":
    main(*sys.argv[1:2])
