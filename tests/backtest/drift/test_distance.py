from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from windtunnel.backtest.drift import DISTANCES, kolmogorov_smirnov, psi, wasserstein

NAN = float("nan")


@given(a=st.lists(st.integers(-5, 5), min_size=1, max_size=40), b=st.lists(st.integers(-5, 5), min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_kolmogorov_smirnov_is_scipys(a: list[int], b: list[int]) -> None:
    """The statistic is that of scipy's two-sample test, ties and all."""
    x, y = np.array(a, dtype=float), np.array(b, dtype=float)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # of its p-values for samples of one
        expected = ks_2samp(x, y, method="asymp").statistic

    assert kolmogorov_smirnov(x, y) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", sorted(DISTANCES))
def test_distances_grow_with_what_moved(name: str) -> None:
    """Each is nothing against itself, and grows as the window moves away."""
    x = np.random.default_rng(0).normal(size=2000)
    found = [DISTANCES[name](x, x + shift) for shift in (0.0, 0.2, 0.5, 1.0)]

    assert found[0] == pytest.approx(0.0, abs=1e-9)
    assert found == sorted(found)


def test_two_values_and_one() -> None:
    """A 0/1 feature is counted by value, and one value that never changes has not moved."""
    rare, often = np.repeat([0.0, 1.0], [90, 10]), np.repeat([0.0, 1.0], [50, 50])
    constant = np.full(50, 3.0)
    expected = [(0.5 - 0.9) * np.log(0.5 / 0.9), (0.5 - 0.1) * np.log(0.5 / 0.1)]

    assert psi(rare, often) == pytest.approx(sum(expected), rel=0.1)
    assert [distance(constant, constant) for distance in DISTANCES.values()] == [0.0] * 4
    assert wasserstein(constant, constant + 2.0) == 2.0


def test_missing_values_are_a_shift_of_their_own() -> None:
    """A feature that went missing is seen by the binned distances, and the others do not fall over it."""
    x = np.random.default_rng(1).normal(size=500)
    gone = np.where(np.arange(500) % 2, x, NAN)

    assert psi(x, gone) > 0.5
    assert kolmogorov_smirnov(x, gone) < 0.1
    assert [distance(x, np.full(3, NAN)) > 0.4 for distance in DISTANCES.values()] == [True] * 4
