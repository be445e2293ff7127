"""The exponential moving average that TensorBoard draws.

For finite values, with weight w: s_i = w s_(i-1) + (1 - w) v_i from s_0 = 0, shown as s_i / (1 - w^i): without the division
the line would begin at zero ("debiasing", as in Adam). What is not finite is shown as it is and changes nothing. See
`resmoothDataset` in TensorBoard's `vz_line_chart2/line-chart.ts`; its source names Kingma and Ba, Adam, 2014.
"""

from __future__ import annotations

import numpy as np

from runicorn.columns import Float64Array

_BLOCK = 1024


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
        counts = np.arange(self._count + 1, self._count + len(values) + 1)
        low = np.minimum(np.minimum.accumulate(values), self._low)
        high = np.maximum(np.maximum.accumulate(values), self._high)
        self._last, self._count = float(sums[-1]), self._count + len(values)
        self._low, self._high = float(low[-1]), float(high[-1])
        # An average lies between what it is of; without this, a constant curve would tremble by rounding.
        return np.clip(sums / (1 - self._weight**counts), low, high)


def _recur(added: Float64Array, weight: float, last: float) -> Float64Array:
    """out[i] = weight * out[i - 1] + added[i], from `last`.

    In blocks side by side, each from 0; then what the blocks before weigh in each is added.
    """
    width = max(1, min(_BLOCK, int(len(added) ** 0.5)))
    blocks = -(-len(added) // width)
    out = np.zeros(blocks * width)
    out[: len(added)] = added
    out = out.reshape(blocks, width)
    for i in range(1, width):
        out[:, i] += weight * out[:, i - 1]
    carries = np.empty(blocks)
    fading = weight**width
    for i, end in enumerate(out[:, -1].tolist()):
        carries[i] = last
        last = fading * last + end
    out += carries[:, None] * weight ** np.arange(1, width + 1)
    return out.reshape(-1)[: len(added)]
