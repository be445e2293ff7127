"""Softmax regression and a two-layer network, with their gradients, in numpy."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from runicorn.demo.spirals import CLASSES, Floats, Labels


class Model(Protocol):
    """A classifier with parameters that gradient descent changes in place."""

    parameters: list[Floats]

    def logits(self, points: Floats) -> Floats:
        """Scores of shape (n, classes) for points of shape (n, 2)."""
        ...

    def gradients(self, points: Floats, error: Floats) -> list[Floats]:
        """Gradients of the parameters, given the gradient of the mean loss by the logits, shape (n, classes)."""
        ...


class SoftmaxRegression:
    """A linear classifier: what it cannot do is the point of the demo."""

    def __init__(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.parameters: list[Floats] = [random.normal(0, 0.1, (2, CLASSES)), np.zeros(CLASSES)]

    def logits(self, points: Floats) -> Floats:
        weights, bias = self.parameters
        return points @ weights + bias

    def gradients(self, points: Floats, error: Floats) -> list[Floats]:
        return [points.T @ error, error.sum(axis=0)]


class TwoLayerNetwork:
    """One hidden layer of rectified linear units."""

    def __init__(self, hidden: int, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.parameters: list[Floats] = [
            random.normal(0, 1.0, (2, hidden)),
            np.zeros(hidden),
            random.normal(0, np.sqrt(2.0 / hidden), (hidden, CLASSES)),
            np.zeros(CLASSES),
        ]

    def logits(self, points: Floats) -> Floats:
        weights, bias, out, out_bias = self.parameters
        return np.maximum(points @ weights + bias, 0.0) @ out + out_bias

    def gradients(self, points: Floats, error: Floats) -> list[Floats]:
        weights, bias, out, _ = self.parameters
        hidden = np.maximum(points @ weights + bias, 0.0)
        back = (error @ out.T) * (hidden > 0)
        return [points.T @ back, back.sum(axis=0), hidden.T @ error, error.sum(axis=0)]


def cross_entropy(logits: Floats, labels: Labels) -> tuple[float, Floats]:
    """Mean cross-entropy of shape () and its gradient by the logits, shape (n, classes)."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    probabilities = np.exp(shifted)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    rows = np.arange(len(labels))
    loss = float(-np.log(probabilities[rows, labels] + 1e-12).mean())
    probabilities[rows, labels] -= 1.0
    return loss, probabilities / len(labels)


def accuracy(logits: Floats, labels: Labels) -> float:
    """Share of points whose highest score is that of their class."""
    return float((logits.argmax(axis=1) == labels).mean())
