"""The trainings of the demo: mini-batch gradient descent with momentum that logs every step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np

import runicorn as rn
from runicorn.demo.models import Model, SoftmaxRegression, TwoLayerNetwork, accuracy, cross_entropy
from runicorn.demo.picture import decision_regions
from runicorn.demo.spirals import Split, spirals

PROJECT = "demo"


class Trial(msgspec.Struct, frozen=True):
    """One training: a model and its learning rate."""

    name: str
    make: Callable[[], Model]
    learning_rate: float
    hidden: int | None = None


def trials() -> Iterator[Trial]:
    """The trainings of one round of the demo, from the one that must fail to the one that does well."""
    yield Trial("softmax", lambda: SoftmaxRegression(seed=1), 0.5)
    for learning_rate in (0.02, 0.2, 1.0):
        yield Trial("two-layer", lambda: TwoLayerNetwork(64, seed=2), learning_rate, 64)


def train(trial: Trial, storage: Path, *, steps: int, steps_per_second: float) -> rn.Run:
    """Train and log one run, paced so that one can watch it; the finished run."""
    training, validation = spirals()
    model = trial.make()
    velocity = [np.zeros_like(parameter) for parameter in model.parameters]
    random = np.random.default_rng(0)
    started = time.monotonic()
    with rn.init(PROJECT, str(storage), name=trial.name) as run:
        run.set_primary_metric("val_accuracy", mode="max")
        run.summary({"learning_rate": trial.learning_rate, "hidden": trial.hidden, "steps": steps, "batch_size": 64})
        run.log_text(f"training {trial.name} with learning rate {trial.learning_rate} on {len(training.points)} points")
        for step in range(1, steps + 1):
            batch = random.integers(0, len(training.points), 64)
            points, labels = training.points[batch], training.labels[batch]
            loss, error = cross_entropy(model.logits(points), labels)
            learning_rate = trial.learning_rate * 0.5 * (1 + np.cos(np.pi * step / steps))
            for parameter, speed, gradient in zip(
                model.parameters, velocity, model.gradients(points, error), strict=True
            ):
                speed *= 0.9
                speed -= learning_rate * gradient
                parameter += speed
            metrics = {"train_loss": loss, "learning_rate": float(learning_rate)}
            if step % 10 == 0 or step == steps:
                metrics |= _validate(model, validation)
            run.log(metrics, stage="warmup" if step <= steps // 10 else "train")
            if step % max(1, steps // 5) == 0:
                run.log_text(
                    f"step {step}/{steps}: " + ", ".join(f"{key} {value:.4f}" for key, value in metrics.items())
                )
                run.log_image("regions", decision_regions(model, validation), step=step, caption=f"after step {step}")
            time.sleep(max(0.0, started + step / steps_per_second - time.monotonic()))
        run.summary(_validate(model, validation))
    return run


def _validate(model: Model, data: Split) -> dict[str, float]:
    logits = model.logits(data.points)
    return {"val_loss": cross_entropy(logits, data.labels)[0], "val_accuracy": accuracy(logits, data.labels)}
