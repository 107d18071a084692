from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from windtunnel.backtest.drift import DISTANCES, jensen_shannon, kolmogorov_smirnov, psi, wasserstein

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


@pytest.mark.parametrize("name", sorted(DISTANCES))
def test_a_value_never_seen_is_a_shift(name: str) -> None:
    """A constant that becomes another, and a category that comes up new, are seen by every distance."""
    constant = np.full(50, 3.0)

    assert DISTANCES[name](constant, constant + 2.0) > 0.5
    assert DISTANCES[name](np.repeat([0.0, 1.0], 50), np.repeat([0.0, 2.0], 50)) > 0.3


@pytest.mark.parametrize("name", sorted(DISTANCES))
def test_infinite_values_are_missing(name: str) -> None:
    """What a division by zero left behind is missing, and breaks no distance."""
    x = np.random.default_rng(2).normal(size=300)
    wild = np.append(x, [np.inf, -np.inf])

    assert pytest.approx(DISTANCES[name](x, np.append(x, [NAN, NAN]))) == DISTANCES[name](x, wild)


def test_psi_and_jensen_shannon_are_their_definitions() -> None:
    """By hand over tenths of the reference with half a row added: Σ (w − r) ln(w / r), and √ of the mean of two entropies."""
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=1000), rng.normal(0.4, 1.3, size=400)
    edges = [-np.inf, *np.quantile(x, np.arange(0.1, 0.95, 0.1)), np.inf]
    r, w = (
        np.array([((low < v) & (v <= high)).sum() + 0.5 for low, high in itertools.pairwise(edges)]) for v in (x, y)
    )
    r, w = r / r.sum(), w / w.sum()
    middle = (r + w) / 2.0
    js = np.sqrt(sum((each * np.log2(each / middle)).sum() / 2.0 for each in (r, w)))

    assert pytest.approx(float(((w - r) * np.log(w / r)).sum())) == psi(x, y)
    assert pytest.approx(float(js)) == jensen_shannon(x, y)
