"""Training curves as one sees them: a noisy falling loss, a schedule with warm-up, an accuracy that saturates.

What storage needs per point depends on such data: random bits in every mantissa, values that repeat, a linear part.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

METRICS = ("loss", "accuracy", "learning_rate", "grad_norm", *(f"grad_norm/layer_{i:02d}" for i in range(16)))


def training_curves(random: np.random.Generator, steps: int, metrics: int) -> dict[str, list[float]]:
    """The first `metrics` of `METRICS` over `steps` steps."""
    progress = np.arange(1, steps + 1) / steps
    noise = _wandering(random, steps)
    speed = random.uniform(3, 12)
    floor = random.uniform(0.05, 0.4)
    loss = (floor + 2.3 * np.exp(-speed * progress)) * (1 + 0.15 * noise)
    correct = np.clip(1 - floor - 0.85 * np.exp(-speed * progress) + 0.01 * noise, 0, 1)
    columns = (
        loss,
        np.round(correct * 10_000) / 10_000,  # so many of 10 000 validation images
        _schedule(progress, 10 ** random.uniform(-4, -1)),
        *(loss * random.lognormal(0.0, 0.3, steps) for _ in METRICS[3:metrics]),
    )
    return {name: column.tolist() for name, column in zip(METRICS[:metrics], columns, strict=False)}


def wall_times(random: np.random.Generator, start: float, steps: int) -> list[float]:
    """When each step was logged: about 50 ms apart, on a clock with microseconds."""
    return np.round(start + np.cumsum(random.gamma(20.0, 0.0025, steps)), 6).tolist()


def _wandering(random: np.random.Generator, steps: int) -> FloatArray:
    white = random.standard_normal(steps)
    window = min(16, steps)
    slow = np.convolve(white, np.ones(window) / np.sqrt(window), mode="same")[:steps]
    return np.asarray(0.7 * white + 0.7 * slow, dtype=np.float64)


def _schedule(progress: FloatArray, peak: float) -> FloatArray:
    warm_up = 0.05
    cosine = 0.5 * (1 + np.cos(np.pi * (progress - warm_up) / (1 - warm_up)))
    return peak * np.where(progress < warm_up, progress / warm_up, cosine)
