"""profile: the distances, against scipy's on the values themselves."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp  # type: ignore[import-untyped]

from pipelines.validate.drift import MOST_EDGES, distances, histogram, make_profile

NUMBERS = st.lists(st.floats(-1e6, 1e6) | st.integers(0, 5).map(float), min_size=1, max_size=60)


def apart(first: np.ndarray, second: np.ndarray) -> float:
    (found,) = distances(
        make_profile(len(first), None, {"length": first}), make_profile(len(second), None, {"length": second})
    )
    assert found.what == "length" and found.measure == "Kolmogorov-Smirnov"
    return found.value


@given(NUMBERS, NUMBERS)
def test_few_values_exactly_as_scipy(first: list[float], second: list[float]) -> None:
    assert apart(np.array(first), np.array(second)) == pytest.approx(ks_2samp(first, second).statistic, abs=1e-8)


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.5, 3.0])
def test_many_values_as_scipy_within_the_width_of_a_bin(shift: float) -> None:
    random = np.random.default_rng(7)
    first, second = random.lognormal(size=20_000), random.lognormal(size=15_000) + shift
    assert len(histogram(first)["edges"]) <= MOST_EDGES
    assert apart(first, second) == pytest.approx(ks_2samp(first, second).statistic, abs=1 / (MOST_EDGES - 1) + 1e-4)


def test_labels_by_total_variation() -> None:
    now = make_profile(4, {"a": 3, "b": 1}, {})
    reference = make_profile(10, {"a": 5, "c": 5}, {})
    (found,) = distances(now, reference)
    assert found.value == pytest.approx((0.25 + 0.25 + 0.5) / 2)
    assert found.detail == "share of 'c' 0.500 -> 0.000"


def test_the_largest_distance_comes_first_and_lone_columns_are_left_out() -> None:
    now = make_profile(3, {"a": 1}, {"x": np.array([1.0, 2.0]), "only here": np.array([1.0])})
    reference = make_profile(3, {"a": 1}, {"x": np.array([5.0]), "only there": np.array([1.0])})
    assert [found.what for found in distances(now, reference)] == ["x", "labels"]


def test_what_is_not_finite_is_left_out() -> None:
    assert histogram(np.array([np.nan, np.inf, 1.0, -np.inf])) == {"edges": [1.0], "cumulative": [1.0]}
    assert histogram(np.array([np.nan])) == {"edges": [], "cumulative": []}


def test_a_profile_survives_json_and_the_order_of_rows() -> None:
    values = np.random.default_rng(1).normal(size=1000)
    profile = make_profile(1000, {"b": 1, "a": 2}, {"x": values})
    again = make_profile(1000, {"a": 2, "b": 1}, {"x": values[::-1]})
    assert json.dumps(profile) == json.dumps(again)
    assert distances(json.loads(json.dumps(profile)), again)[0].value == 0
