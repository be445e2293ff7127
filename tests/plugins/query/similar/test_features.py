"""The numbers that stand for curves and configurations: exact whatever the batches, and close where runs are alike."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runicorn_query.similar.features import (
    DIMENSIONS,
    FEATURES,
    Curve,
    curves_vector,
    flattened,
    settings_vector,
)

VALUES = st.lists(st.floats(width=64), min_size=1, max_size=3000)
RUNS = 40  # of each family


def curve_of(values, cuts=()) -> Curve:
    curve = Curve()
    for part in np.split(np.array(values, np.float64), sorted(cuts)):
        curve.extend(part)
    return curve


@given(VALUES.filter(lambda values: all(not math.isfinite(v) or abs(v) < 1e150 for v in values)), st.data())
def test_numbers_do_not_depend_on_how_values_arrive(values, data) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(values)), max_size=6))
    whole, parts = curve_of(values), curve_of(values, cuts)
    assert len(whole) == len(parts) == sum(map(math.isfinite, values))
    if len(whole):
        assert whole.features().tobytes() == parts.features().tobytes()
        assert np.isfinite(whole.features()).all()


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=2000))
def test_means_are_those_of_sixteen_equal_parts(values) -> None:
    spread = np.repeat(
        np.array(values), 16
    )  # each value is sixteen parts, so each mean is over as many parts as values
    expected = spread.reshape(16, -1).mean(axis=1)
    features = curve_of(values).features()[:16]
    if len(values) <= 256 and expected.std() > 1e-6 * np.abs(values).max(initial=0):
        assert features == pytest.approx((expected - expected.mean()) / expected.std() / 4, abs=1e-6)


def test_a_curve_of_many_values_has_the_shape_of_its_means() -> None:
    values = np.linspace(1.0, 0.0, 1_000_003) ** 2
    expected = np.array([part.mean() for part in np.array_split(values, 16)])
    features = curve_of(values).features()
    assert features[:16] == pytest.approx((expected - expected.mean()) / expected.std() / 4, abs=1e-3)
    assert len(features) == FEATURES


def test_a_constant_curve_has_no_shape() -> None:
    assert curve_of([0.1] * 1000).features()[:16].tolist() == [0.0] * 16


@given(st.dictionaries(st.text(max_size=5), st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text())))
def test_configurations_of_any_kind_have_a_vector(settings) -> None:
    vector = settings_vector(flattened(settings))
    assert vector.shape == (DIMENSIONS,)
    assert float(vector @ vector) == pytest.approx(1.0)
    assert settings_vector(dict(reversed(flattened(settings).items()))).tobytes() == vector.tobytes()


def test_near_numbers_are_near_and_far_ones_are_not() -> None:
    at = {value: settings_vector({"lr": value}) for value in (1e-3, 1.1e-3, 1e-2, -1e-3)}
    assert at[1e-3] @ at[1.1e-3] > 0.98
    assert abs(at[1e-3] @ at[1e-2]) < 0.3
    assert abs(at[1e-3] @ at[-1e-3]) < 0.3


def test_nested_settings_are_named_by_their_path() -> None:
    assert flattened({"optimizer": {"lr": 1, "betas": [0.9, 0.99]}, "a": {}}) == {
        "a": {},
        "optimizer.betas": [0.9, 0.99],
        "optimizer.lr": 1,
    }


class TestPlantedFamilies:
    """Runs that were made alike are found: of the 10 nearest, nearly all are of the same family."""

    def precision(self, vectors: list[np.ndarray], families: list[int]) -> float:
        matrix = np.array(vectors)
        likeness = matrix @ matrix.T
        np.fill_diagonal(likeness, -9)
        nearest = np.argsort(-likeness, axis=1)[:, :10]
        return float(np.mean([np.array(families)[nearest[i]] == families[i] for i in range(len(families))]))

    def test_by_their_curves(self) -> None:
        random = np.random.default_rng(3)
        vectors, families = [], []
        for family in range(8):
            rate, level, bump = random.uniform(1, 12), random.uniform(0.05, 2), random.uniform(0.1, 0.9)
            for _ in range(RUNS):
                progress = np.linspace(0, 1, int(random.integers(30, 2000)))
                loss = level * (np.exp(-rate * progress) + 0.4 * np.exp(-200 * (progress - bump) ** 2)) + 0.1 * level
                accuracy = 1 - np.exp(-rate * progress) * (0.4 + 0.6 * bump)
                curves = {
                    "loss": loss * random.normal(1, 0.05, len(progress)),
                    "acc": accuracy + random.normal(0, 0.02, len(progress)),
                }
                features = {name: curve_of(values).features() for name, values in curves.items()}
                vectors.append(curves_vector(features))
                families.append(family)
        assert self.precision(vectors, families) >= 0.95

    def test_by_their_configuration(self) -> None:
        random = np.random.default_rng(4)
        vectors, families = [], []
        for family in range(8):
            base = {
                "model": f"net{family % 4}",
                "optimizer": ["adam", "sgd"][family // 4],
                "lr": 10.0 ** -(family % 3 + 1),
            }
            for seed in range(RUNS):
                own = {**base, "lr": base["lr"] * random.uniform(0.8, 1.25), "batch": int(2 ** random.integers(5, 8))}
                vectors.append(settings_vector({**own, "seed": seed}))
                families.append(family)
        assert self.precision(vectors, families) >= 0.95


def test_a_key_that_is_flat_in_one_place_and_nested_in_another_has_the_later_value() -> None:
    assert flattened({"opt.lr": 0.1, "opt": {"lr": "auto"}, "a": 1}) == {"a": 1, "opt.lr": "auto"}
    settings_vector(flattened({"opt.lr": 0.1, "opt": {"lr": "auto"}}))


def test_every_setting_is_kept_and_the_first_512_count_for_the_vector() -> None:
    many = {f"k{number:04}": number for number in range(600)}
    other = {**many, "k0599": "other"}
    assert flattened(other)["k0599"] == "other"
    assert settings_vector(many).tobytes() == settings_vector(other).tobytes()
    assert settings_vector(many).tobytes() != settings_vector({**many, "k0511": "other"}).tobytes()
