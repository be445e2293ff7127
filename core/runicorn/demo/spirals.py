"""The data set of the demo: interleaved spirals, which a linear model cannot separate and a small network can.

The classic of K. J. Lang and M. J. Witbrock, "Learning to tell two spirals apart" (1988), here with three arms.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

CLASSES = 3


class Split(NamedTuple):
    """Points of shape (n, 2) and their class of shape (n,)."""

    points: Floats
    labels: Labels


def spirals(per_class: int = 400, *, noise: float = 0.12, seed: int = 0) -> tuple[Split, Split]:
    """Training and validation split (4 : 1) of three noisy spirals. Deterministic for a seed."""
    random = np.random.default_rng(seed)
    radius = np.tile(np.linspace(0.05, 1.0, per_class), CLASSES)
    labels = np.repeat(np.arange(CLASSES), per_class)
    angle = radius * 4.5 + labels * (2 * np.pi / CLASSES) + random.normal(0, noise, radius.shape)
    points = np.column_stack((radius * np.cos(angle), radius * np.sin(angle)))
    order = random.permutation(len(points))
    cut = len(points) * 4 // 5
    return Split(points[order[:cut]], labels[order[:cut]]), Split(points[order[cut:]], labels[order[cut:]])
