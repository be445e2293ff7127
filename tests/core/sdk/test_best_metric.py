from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runicorn.errors import BadInput
from runicorn.sdk.best_metric import BestMetric

NUMBERS = st.floats() | st.integers(-(10**400), 10**400) | st.booleans() | st.none() | st.text(max_size=2)


@given(st.sampled_from(["max", "min"]), st.lists(NUMBERS))
def test_the_best_value_is_the_first_extreme_of_the_finite_numbers(mode, values):
    best = BestMetric("m", mode)
    for step, value in enumerate(values):
        best.offer(value, step)
    finite = [
        (step, value)
        for step, value in enumerate(values)
        if isinstance(value, (bool, int, float)) and abs(value) <= 1.7976931348623157e308
    ]
    if not finite:
        assert best.value is None
        return
    extreme = (max if mode == "max" else min)(value for _, value in finite)
    assert best.value == extreme
    assert best.step == next(step for step, value in finite if value == extreme)
    assert not isinstance(best.value, bool)


def test_a_first_nan_does_not_block_later_values():
    best = BestMetric("loss", "min")
    assert not best.offer(math.nan, 1)
    assert not best.offer(-math.inf, 2)
    assert best.offer(3, 3)
    assert not best.offer(3.0, 4)
    assert best.offer(True, 5)
    assert best.summary() == {
        "best_metric_value": 1,
        "best_metric_name": "loss",
        "best_metric_step": 5,
        "best_metric_mode": "min",
    }


@pytest.mark.parametrize("mode", ["MAX", "", None, 1])
def test_another_mode_is_refused(mode):
    with pytest.raises(ValueError, match=f"^Mode must be 'max' or 'min', got '{mode}'$") as error:
        BestMetric("m", mode)
    assert isinstance(error.value, BadInput)
