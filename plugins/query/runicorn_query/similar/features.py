"""Numbers that stand for the curves and the configuration of a run; pure and the same on every machine.

Curve: piecewise aggregate approximation to 16 means over the progress of the run (Keogh et al. 2001), z-normalised, with the
last, the least and the range of the means on a signed logarithmic scale; a random projection of ±1, seeded by the metric's name
(Johnson and Lindenstrauss 1984; Achlioptas 2003), summed over metrics. Configuration: feature hashing with signs
(Weinberger et al. 2009); a number is spread over the two nearest places of a logarithmic scale.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b, shake_128
from operator import itemgetter
from typing import TypeAlias, cast

import numpy as np
import numpy.typing as npt

from runicorn.plugin import dump_json

Vector: TypeAlias = npt.NDArray[np.float64]

DIMENSIONS = 64
"""Of each half: curves, and configuration."""

_MEANS = 16
_STATISTICS = 3
FEATURES = _MEANS + _STATISTICS
"""Numbers that stand for one curve."""

_BUCKETS = 256
_MOST_SETTINGS = 512
_STATISTICS_WEIGHT = 0.5
_OCTAVE = math.log(2.0)


class Curve:
    """The values of one metric in order, kept as sums over at most 256 equal parts. Only finite values count.

    Which values share a part depends on their number alone, and each is added in its turn: the result does not depend on
    how the values were cut into batches, to the last bit.
    """

    def __init__(self) -> None:
        self._sums = np.zeros(_BUCKETS)
        self._width = 1
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def extend(self, values: Vector) -> None:
        """Append values."""
        values = values[np.isfinite(values)]
        while len(values):
            if self._count == _BUCKETS * self._width:
                self._sums = np.concatenate([self._sums[::2] + self._sums[1::2], np.zeros(_BUCKETS // 2)])
                self._width *= 2
            part = values[: _BUCKETS * self._width - self._count]
            places = (self._count + np.arange(len(part))) // self._width
            np.add.at(self._sums, places, part)
            self._count += len(part)
            values = values[len(part) :]

    def features(self) -> Vector:
        """Its `FEATURES` numbers; the shape has norm 1, or 0 where all values are alike."""
        means = self._means()
        spread = float(means.std())
        is_flat = spread <= 1e-9 * float(np.abs(means).max())
        shape = np.zeros(_MEANS) if is_flat else (means - means.mean()) / spread / math.sqrt(_MEANS)
        # Of the means, too: single values are noisy, and near zero the scale is steep.
        statistics = [_scaled(float(means[-1])), _scaled(float(means.min())), _scaled(float(np.ptp(means)))]
        return np.concatenate([shape, np.array(statistics) * _STATISTICS_WEIGHT])

    def means(self) -> Vector:
        """Of its parts, in order: up to 256, of a power of two of values each (the last one may have fewer)."""
        sizes = self._sizes()
        return self._sums[: len(sizes)] / sizes

    def _sizes(self) -> Vector:
        parts = -(-self._count // self._width)
        sizes = np.full(parts, float(self._width))
        sizes[-1] = self._count - self._width * (parts - 1)
        return sizes

    def _means(self) -> Vector:
        """16 means over equal parts of the values; a bucket that lies across a border counts in part on both sides."""
        sizes = self._sizes()
        ends = np.cumsum(sizes)
        borders = np.linspace(0.0, float(self._count), _MEANS + 1)
        sums = np.interp(
            borders, np.concatenate([[0.0], ends]), np.concatenate([[0.0], np.cumsum(self._sums[: len(sizes)])])
        )
        return np.diff(sums) / np.diff(borders)


def curves_vector(features: Mapping[str, Vector]) -> Vector:
    """The half of a run's vector that stands for its curves; norm 1."""
    total = np.zeros(DIMENSIONS)
    for name in sorted(features):
        total += (_signs(name) * features[name]).sum(axis=1)
    return _unit(total)


def settings_vector(settings: Mapping[str, object]) -> Vector:
    """The half of a run's vector that stands for its configuration, flat as `flattened` makes it; norm 1.

    The first 512 settings by name count.
    """
    total = np.zeros(DIMENSIONS)
    for key in sorted(settings)[:_MOST_SETTINGS]:
        for feature, weight in _features(key, settings[key]):
            digest = int.from_bytes(blake2b(feature.encode("utf-8", "replace"), digest_size=8).digest())
            total[digest % DIMENSIONS] += weight if digest >> 63 else -weight
    return _unit(total)


def flattened(settings: Mapping[str, object]) -> dict[str, object]:
    """Nested keys joined by dots, by name. Of two that are then the same, the value that stands later."""
    return dict(sorted(_flat("", settings), key=itemgetter(0)))


def _flat(prefix: str, settings: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            yield from _flat(f"{prefix}{key}.", cast("dict[str, object]", value))
        else:
            yield f"{prefix}{key}", value


def _features(key: str, value: object) -> Iterable[tuple[str, float]]:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value and -1e300 < value < 1e300:
        place = math.log(abs(value)) / _OCTAVE / 2  # two octaves, a factor of four, from one place to the next
        below = math.floor(place)
        angle = (place - below) * math.pi / 2
        sign = "-" if value < 0 else "+"
        return (f"{key}~{sign}{below}", math.cos(angle)), (f"{key}~{sign}{below + 1}", math.sin(angle))
    return ((f"{key}={value if isinstance(value, str) else dump_json(value).decode()}", 1.0),)


def _scaled(value: float) -> float:
    return math.asinh(100.0 * value) / 8.0  # a loss of 0.01, 0.1, 1, 10: 0.1, 0.4, 0.7, 0.9


def _signs(name: str) -> Vector:
    """A matrix of ±1/8, `DIMENSIONS` by `FEATURES`, that depends on the name alone."""
    bits = np.frombuffer(shake_128(name.encode("utf-8", "replace")).digest(DIMENSIONS * FEATURES // 8), np.uint8)
    signs = np.unpackbits(bits).reshape(DIMENSIONS, FEATURES).astype(np.float64)
    return (2.0 * signs - 1.0) / math.sqrt(DIMENSIONS)


def _unit(vector: Vector) -> Vector:
    norm = math.sqrt(float((vector * vector).sum()))
    # A run without metrics, or without configuration, is like others without, and unlike the rest.
    return vector / norm if norm > 0 else np.full(DIMENSIONS, 1.0 / math.sqrt(DIMENSIONS))
