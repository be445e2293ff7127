"""Curves as text: braille dots on a terminal, one line of blocks in a pipe."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from runicorn_query.similar.features import Vector

_BLOCKS = "▁▂▃▄▅▆▇█"
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BRAILLE = 0x2800


def sparkline(values: Vector, width: int = 40) -> str:
    """The values as one line of at most `width` blocks, the lowest and highest between them."""
    means = _parts(values, min(width, len(values)))
    levels = np.rint(_scaled(means) * (len(_BLOCKS) - 1)).astype(int)
    return "".join(_BLOCKS[level] for level in levels.tolist())


def braille(values: Vector, width: int = 60, height: int = 4) -> list[str]:
    """The values as a line of dots, `width` by `height` characters of two by four dots each."""
    columns, rows = 2 * width, 4 * height
    means = _stretched(values, columns)
    levels = (rows - 1 - np.rint(_scaled(means) * (rows - 1))).astype(int).tolist()
    cells = [[0] * width for _ in range(height)]
    for column, level in enumerate(levels):
        # Up to the level of the dot before, so that a steep part is a line as well.
        before = levels[column - 1] if column else level
        for row in range(min(level, before + (level > before)), max(level, before - (level < before)) + 1):
            cells[row // 4][column // 2] |= _DOTS[row % 4][column % 2]
    return ["".join(chr(_BRAILLE + cell) for cell in line) for line in cells]


def labelled(plot: Sequence[str], values: Vector) -> list[str]:
    """A plot with the highest value at its first line and the lowest at its last."""
    labels = [""] * len(plot)
    labels[0], labels[-1] = f"{values.max():.4g}", f"{values.min():.4g}"
    width = max(map(len, labels))
    return [f"{label:>{width}} {line}" for label, line in zip(labels, plot, strict=True)]


def _parts(values: Vector, count: int) -> Vector:
    """Means of `count` parts of about equal length."""
    borders = np.linspace(0, len(values), count + 1).astype(int)
    return np.add.reduceat(values, borders[:-1]) / np.diff(borders)


def _stretched(values: Vector, count: int) -> Vector:
    if len(values) >= count:
        return _parts(values, count)
    return np.interp(np.linspace(0, len(values) - 1, count), np.arange(len(values)), values)


def _scaled(values: Vector) -> Vector:
    """From 0 for the lowest to 1 for the highest; in the middle if all are alike."""
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high > low else np.full(len(values), 0.5)
