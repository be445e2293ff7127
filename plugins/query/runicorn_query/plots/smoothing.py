"""The exponential moving average that TensorBoard draws.

For finite values, with weight w: s_i = w s_(i-1) + (1 - w) v_i from s_0 = 0, shown as s_i / (1 - w^i): without the division
the line would begin at zero ("debiasing", as in Adam). What is not finite is shown as it is and changes nothing. See
`resmoothDataset` in TensorBoard's `vz_line_chart2/line-chart.ts`; its source names Kingma and Ba, Adam, 2014.
"""

from __future__ import annotations

import numpy as np

from runicorn.columns import Float64Array

_NOTHING = 1e-40


class Smoothing:
    """The average of one curve that comes in pieces."""

    def __init__(self, weight: float) -> None:
        self._weight = weight
        self._last = 0.0
        self._count = 0
        self._low, self._high = np.inf, -np.inf

    def smooth(self, values: Float64Array) -> Float64Array:
        """The next values, smoothed."""
        finite = np.isfinite(values)
        if finite.all():
            return self._smooth(values)
        out = values.copy()
        out[finite] = self._smooth(values[finite])
        return out

    def _smooth(self, values: Float64Array) -> Float64Array:
        if not len(values):
            return values
        sums = _recur(values * (1 - self._weight), self._weight, self._last)
        low = np.minimum(np.minimum.accumulate(values), self._low)
        high = np.maximum(np.maximum.accumulate(values), self._high)
        self._last = float(sums[-1])
        self._low, self._high = float(low[-1]), float(high[-1])
        # An average lies between what it is of; without this, a constant curve would tremble by rounding.
        return np.clip(self._debiased(sums), low, high)

    def _debiased(self, sums: Float64Array) -> Float64Array:
        before, self._count = self._count, self._count + len(sums)
        if self._weight**before < _NOTHING:
            return sums
        return sums / (1 - self._weight ** np.arange(before + 1.0, self._count + 1.0))


def _recur(added: Float64Array, weight: float, last: float) -> Float64Array:
    """out[i] = weight * out[i - 1] + added[i], from `last`.

    Every round doubles how far back each element looks (Hillis and Steele, Data Parallel Algorithms, 1986), up to where
    what was weighs nothing.
    """
    out = added.copy()
    out[0] += weight * last
    distance, fading = 1, weight
    while distance < len(out) and fading > _NOTHING:
        out[distance:] += fading * out[:-distance]
        distance *= 2
        fading *= fading
    return out
