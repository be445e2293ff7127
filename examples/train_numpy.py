"""A small training with NumPy alone: a two-layer network learns two spirals. `python train_numpy.py [STORAGE] [EPOCHS]`."""

from __future__ import annotations

import sys

import numpy as np

import runicorn as rn

HIDDEN = 32
LEARNING_RATE = 0.5


def spirals(points: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (2 * points, 2) and labels (2 * points, 1) of two interleaved spirals."""
    turn = np.sqrt(rng.random(points)) * 1.5 * np.pi
    arm = np.stack([turn * np.cos(turn), turn * np.sin(turn)], axis=1) / 5 + rng.normal(0, 0.03, (points, 2))
    labels = np.repeat([[0.0], [1.0]], points, axis=0)
    return np.concatenate([arm, -arm]), labels


def main(storage: str | None = None, epochs: int = 300) -> None:
    rng = np.random.default_rng(0)
    x, y = spirals(200, rng)
    x_test, y_test = spirals(100, rng)
    w1, b1 = rng.normal(0, 1, (2, HIDDEN)), np.zeros(HIDDEN)
    w2, b2 = rng.normal(0, 0.1, (HIDDEN, 1)), np.zeros(1)

    def predict(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        hidden = np.tanh(points @ w1 + b1)
        return hidden, 1 / (1 + np.exp(-(hidden @ w2 + b2)))

    with rn.init("examples", storage, name="spirals") as run:
        rn.set_primary_metric("test_accuracy", mode="max")
        rn.log_text(f"{x.shape[0]} points, {HIDDEN} hidden units, run {run.id}")
        for epoch in range(1, epochs + 1):
            hidden, p = predict(x)
            loss = -np.mean(y * np.log(p + 1e-9) + (1 - y) * np.log(1 - p + 1e-9))
            slope = (p - y) / len(x)
            back = (slope @ w2.T) * (1 - hidden**2)
            for weights, gradient in ((w1, x.T @ back), (b1, back.sum(0)), (w2, hidden.T @ slope), (b2, slope.sum(0))):
                weights -= LEARNING_RATE * gradient
            accuracy = np.mean((predict(x_test)[1] > 0.5) == y_test)
            rn.log({"loss": loss, "test_accuracy": accuracy}, step=epoch, stage="train")
            if epoch % 100 == 0:
                rn.log_text(f"epoch {epoch}: loss {loss:.3f}, accuracy {accuracy:.1%}")
        rn.summary({"hidden": HIDDEN, "learning_rate": LEARNING_RATE, "final_loss": loss})


if __name__ == "__main__":
    main(*sys.argv[1:2], *map(int, sys.argv[2:3]))
