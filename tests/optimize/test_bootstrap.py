from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.optimize.bootstrap import _acceleration, _quantile, paired_bootstrap
from windtunnel.optimize.non_inferiority import mean_drop

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def _mean(values: Floats) -> Callable[[Floats], Floats]:
    def mean(weights: Floats) -> Floats:
        average: Floats = weights @ values / weights.sum(axis=1)
        return average

    return mean


def test_of_a_normal_mean_it_is_students() -> None:
    """Of the mean of normal rows the bootstrap finds Student's interval, within what the resamples can tell."""
    values = np.random.default_rng(1).normal(size=400)
    found = paired_bootstrap(_mean(values), 400, 0.95, np.random.default_rng(2), resamples=8000)
    known = mean_drop(values, 0.95)

    assert found.value == pytest.approx(known.value)
    assert (found.low, found.high) == pytest.approx((known.low, known.high), abs=0.06 * (known.high - known.low))


def test_a_level_that_resamples_do_not_carry() -> None:
    """Far out, where few resamples lie, the tail goes on as a normal one instead of stopping at the last resample."""
    values = np.random.default_rng(1).normal(size=400)
    found = paired_bootstrap(_mean(values), 400, 1.0 - 1e-6, np.random.default_rng(2), resamples=500)
    known = mean_drop(values, 1.0 - 1e-6)

    assert (found.low, found.high) == pytest.approx((known.low, known.high), abs=0.12 * (known.high - known.low))
    assert _quantile(np.linspace(-1.0, 1.0, 1000), 9.0, 1.0) > 7.0


def test_acceleration() -> None:
    """The acceleration of a mean is its skewness over 6 √n, from single rows left out and from blocks of them alike."""
    values = np.random.default_rng(3).exponential(size=2000)
    centred = values - values.mean()
    exact = np.sum(centred**3) / (6.0 * np.sum(centred**2) ** 1.5)

    assert _acceleration(_mean(values), 2000, 2000, np.random.default_rng(4)) == pytest.approx(exact, rel=0.01)
    assert _acceleration(_mean(values), 2000, 200, np.random.default_rng(4)) == pytest.approx(exact, rel=1.0)


def test_skewed_means_are_covered() -> None:
    """Of the mean of 60 exponential rows the interval covers about 95 of 100 times."""
    rng, draws = np.random.default_rng(5), 400
    found = [paired_bootstrap(_mean(rng.exponential(size=60)), 60, 0.95, rng, resamples=500) for _ in range(draws)]
    covered = sum(each.low <= 1.0 <= each.high for each in found)

    assert covered >= draws * 0.95 - 3.0 * math.sqrt(draws * 0.95 * 0.05)


def test_nothing_differs() -> None:
    """A difference that no resample changes has an interval without width."""
    found = paired_bootstrap(lambda weights: np.zeros(len(weights)), 50, 0.95, np.random.default_rng(1))

    assert (found.low, found.value, found.high) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("undefined", [0.05, 0.5])
def test_undefined_resamples(undefined: float) -> None:
    """A few resamples without a value are left out; many of them leave nothing known."""
    values, rng = np.random.default_rng(1).normal(size=100), np.random.default_rng(2)

    def sometimes(weights: Floats) -> Floats:
        whole = (weights == 1.0).all(axis=1)
        return np.where(~whole & (rng.random(len(weights)) < undefined), np.nan, _mean(values)(weights))

    found = paired_bootstrap(sometimes, 100, 0.95, np.random.default_rng(3))

    assert math.isfinite(found.high) == (undefined < 0.1)


def test_same_generator_same_interval() -> None:
    """The interval is a function of the rows and the generator alone."""
    values = np.random.default_rng(1).normal(size=100)
    first, second = (paired_bootstrap(_mean(values), 100, 0.95, np.random.default_rng(7)) for _ in range(2))

    assert first == second
