"""A pipeline of artifacts with NumPy alone: prepare → train three times → evaluate → promote the best.

`python pipeline_artifacts.py [STORAGE]`. Each step is a run; what it makes and uses is the lineage of the model.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

import runicorn as rn

PROJECT = "moons"
DEGREES = (1, 3, 7)
SPLITS = ("train", "test")


def moons(points: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (2 * points, 2) and labels (2 * points) of two interleaved half circles."""
    turn = rng.random(points) * np.pi
    upper = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    lower = np.stack([1 - np.cos(turn), 0.5 - np.sin(turn)], axis=1)
    return np.concatenate([upper, lower]) + rng.normal(0, 0.2, (2 * points, 2)), np.repeat([0.0, 1.0], points)


def features(x: np.ndarray, degree: int) -> np.ndarray:
    """All products of powers of the two coordinates, up to a degree."""
    return np.stack([x[:, 0] ** i * x[:, 1] ** (j - i) for j in range(degree + 1) for i in range(j + 1)], axis=1)


def prepare(storage: str | None, folder: Path) -> None:
    """Make the data set."""
    rng = np.random.default_rng(0)
    with rn.init(PROJECT, storage, name="prepare"):
        for split, points in zip(SPLITS, (100, 200), strict=True):
            x, y = moons(points, rng)
            np.savez(folder / f"{split}.npz", x=x, y=y)
        rn.log_artifact(folder, name="moons", type="dataset", metadata={"noise": 0.2})


def train(storage: str | None, folder: Path, degree: int) -> None:
    """Fit a classifier, and save its weights as the next version of the model."""
    with rn.init(PROJECT, storage, name=f"train-degree-{degree}"):
        data = np.load(rn.use_artifact("moons:latest").download() / "train.npz")
        inputs = features(data["x"], degree)
        penalty = 1e-3 * np.eye(inputs.shape[1])
        weights = np.linalg.solve(inputs.T @ inputs + penalty, inputs.T @ (2 * data["y"] - 1))
        accuracy = float(np.mean((inputs @ weights > 0) == data["y"]))
        rn.summary({"degree": degree, "train_accuracy": accuracy})
        np.savez(folder / "weights.npz", weights=weights, degree=degree)
        rn.log_artifact(folder / "weights.npz", name="classifier", type="model", metadata={"degree": degree})


def evaluate_and_promote(storage: str | None, folder: Path) -> int:
    """Compare all versions of the model on data that they have not seen, and promote the best one."""
    with rn.init(PROJECT, storage, name="evaluate") as run:
        test = np.load(rn.use_artifact("moons:latest").download() / "test.npz")
        accuracies: dict[int, float] = {}
        for version in range(1, len(DEGREES) + 1):
            model = np.load(rn.use_artifact(f"classifier:v{version}").download() / "weights.npz")
            scores = features(test["x"], int(model["degree"])) @ model["weights"]
            accuracies[version] = float(np.mean((scores > 0) == test["y"]))
        best = max(accuracies, key=accuracies.__getitem__)
        rn.summary({"best_version": best, "test_accuracy": accuracies[best]})
        report = folder / "report.json"
        report.write_text(json.dumps({f"v{version}": accuracy for version, accuracy in accuracies.items()}))
        rn.log_artifact(report, name="report", type="custom", metadata={"best": f"classifier:v{best}"})
        for stage in ("staging", "production"):
            run.artifact_storage.promote_artifact_version("classifier", "model", best, stage, evaluator_run_id=run.id)
    return best


def main(storage: str | None = None) -> None:
    for step in (prepare, *(lambda s, f, d=degree: train(s, f, d) for degree in DEGREES)):
        with tempfile.TemporaryDirectory() as folder:
            step(storage, Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        best = evaluate_and_promote(storage, Path(folder))
    print(f"classifier:v{best} is in production.")


if __name__ == "__main__":
    main(*sys.argv[1:2])
