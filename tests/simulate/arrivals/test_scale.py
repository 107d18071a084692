from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as distributions

from windtunnel.errors import ConfigError
from windtunnel.simulate.arrivals import Poisson, RateCurve, scale_rate
from windtunnel.trace import Trace


@pytest.mark.parametrize("factor", [0.25, 1.0, 1.5, 3.0])
def test_rate_is_scaled_and_time_is_not(factor: float) -> None:
    """There are as many requests times the factor, in the same time, and busy stretches stay where they were."""
    steps = RateCurve.steps((20.0, 200.0), (50.0, 50.0))
    trace = steps.arrivals(seconds=200.0, seed=1)
    scaled = scale_rate(trace, factor, np.random.default_rng(0))
    halves = [np.histogram(each.arrivals_s, bins=4, range=(0.0, 200.0))[0] for each in (trace, scaled)]

    assert abs(len(scaled) - factor * len(trace)) <= 4.0 * len(trace) ** 0.5
    assert abs(scaled.duration_s - trace.duration_s) < 1.0
    assert np.all(np.abs(halves[1] - factor * halves[0]) <= 4.0 * halves[0] ** 0.5 + 2.0)


def test_thinned_poisson_is_poisson() -> None:
    """A share of Poisson traffic is Poisson traffic of that share of its rate."""
    thinned = scale_rate(Poisson(100.0).arrivals(requests=100_000, seed=2), 0.3, np.random.default_rng(1))

    assert distributions.kstest(np.diff(thinned.arrivals_s) * 30.0, "expon").pvalue > 1e-3


def test_copies_carry_the_columns_of_what_they_copy() -> None:
    """With no jitter each copy lies on its original; with some, within reach of it; every original stays."""
    times_s = Poisson(10.0).arrivals(requests=1000, seed=3).arrivals_s
    trace = Trace("t", times_s, {"at_s": times_s})
    exact = scale_rate(trace, 2.0, np.random.default_rng(0), jitter_s=0.0)
    moved = scale_rate(trace, 2.5, np.random.default_rng(0), jitter_s=0.5)

    assert np.array_equal(exact.arrivals_s, exact.columns["at_s"])
    assert np.max(np.abs(moved.arrivals_s - moved.columns["at_s"])) <= 0.5
    assert np.all(np.isin(times_s, moved.arrivals_s))


@pytest.mark.parametrize(("factor", "jitter_s"), [(0.0, None), (-1.0, None), (float("inf"), None), (2.0, -1.0)])
def test_scales_that_are_none_are_refused(factor: float, jitter_s: float | None) -> None:
    """A factor is above zero and finite, a jitter zero or more."""
    with pytest.raises(ConfigError):
        scale_rate(Poisson(1.0).arrivals(requests=9, seed=1), factor, np.random.default_rng(0), jitter_s=jitter_s)
