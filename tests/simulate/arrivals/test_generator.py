from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import stats as distributions

from windtunnel.errors import ConfigError, DataError
from windtunnel.simulate.arrivals import Gamma, Hawkes, Mmpp, Poisson, RateCurve, Weekly, Weibull
from windtunnel.simulate.arrivals.fill import fill
from windtunnel.stats import autocorrelation

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from windtunnel.simulate.arrivals import Generator

    Floats = NDArray[np.float64]

GENERATORS: tuple[Generator, ...] = (
    Poisson(900.0),
    Gamma(900.0, cv=2.0),
    Gamma(900.0, cv=0.5),
    Weibull(900.0, cv=2.0),
    Mmpp((0.0, 100.0, 900.0), (1.0, 6.0, 0.5)),
    RateCurve.steps((100.0, 0.0, 900.0), (1.0, 0.5, 0.2)),
    RateCurve.ramp(900.0, 100.0, 5.0, cv=2.0),
    Hawkes(RateCurve.constant(450.0), branching=0.5, decay_per_s=10.0),
    Weekly(900.0, swing=1.0, weekend=0.5),
)


@pytest.mark.parametrize("generator", GENERATORS, ids=str)
def test_any_chunks_give_the_same_bits(generator: Generator) -> None:
    """A stream filled in pieces of one, of 255 to 257 and of thousands is the stream filled whole, also by code."""
    whole = np.empty(20_000)
    generator.fill(generator.start(5), whole)
    state, settings, pieces = generator.start(5), generator.settings(), []
    for many in (1, 1, 2, 255, 256, 257, 1000, 7, 18_221):
        pieces.append(np.empty(many))
        fill(generator.code, state, settings, pieces[-1])

    assert whole.tobytes() == np.concatenate(pieces).tobytes()
    assert np.all(np.diff(whole) >= 0.0)
    assert whole[0] > 0.0


@pytest.mark.parametrize("generator", GENERATORS, ids=str)
def test_seeds_are_strangers(generator: Generator) -> None:
    """The same seed gives the same arrivals, the next one others, and the largest of 64 bits is a seed as any other."""
    first, again, other = (generator.arrivals(requests=500, seed=seed).arrivals_s for seed in (1, 1, 2))

    assert first.tobytes() == again.tobytes()
    assert not np.any(first == other)
    assert len(generator.arrivals(requests=500, seed=2**64 - 1)) == 500


@pytest.mark.parametrize(
    ("generator", "law"),
    [
        (Poisson(20.0), distributions.expon(scale=0.05)),
        (Gamma(20.0, cv=2.0), distributions.gamma(0.25, scale=0.2)),
        (Gamma(20.0, cv=0.25), distributions.gamma(16.0, scale=0.05 / 16.0)),
        (Weibull(1.0, cv=5.0**0.5), distributions.weibull_min(0.5, scale=0.5)),
    ],
    ids=str,
)
def test_gaps_follow_their_law(generator: Generator, law: Any) -> None:
    """Gaps of a renewal process pass the KS test of their distribution, and neighbours know nothing of each other."""
    gaps = np.diff(generator.arrivals(requests=50_000, seed=3).arrivals_s)

    assert distributions.kstest(gaps, law.cdf).pvalue > 1e-3
    assert abs(float(distributions.spearmanr(gaps[1:], gaps[:-1]).statistic)) < 4.0 / len(gaps) ** 0.5


def _constant(dispersion: float) -> Callable[[float], float]:
    return lambda _seconds: dispersion


def _relaxing(at_once: float, for_ever: float, per_s: float) -> Callable[[float], float]:
    """Dispersion over windows of a process whose covariance decays exponentially."""
    return lambda seconds: for_ever + (at_once - for_ever) * (1.0 - np.exp(-per_s * seconds)) / (per_s * seconds)


_LEAVE = (1.0 / 2.0, 1.0 / 0.5)
_BURST = 2.0 * _LEAVE[0] * _LEAVE[1] * (400.0 - 50.0) ** 2 / (sum(_LEAVE) ** 2 * (50.0 * _LEAVE[1] + 400.0 * _LEAVE[0]))


@pytest.mark.parametrize(
    ("generator", "dispersion"),
    [
        (Poisson(100.0), _constant(1.0)),
        (Gamma(100.0, cv=2.0), _constant(4.0)),
        (Weibull(100.0, cv=2.0), _constant(4.0)),
        (Gamma(100.0, cv=0.5), _constant(0.25)),
        # Fischer & Meier-Hellstern 1993
        (Mmpp((50.0, 400.0), (2.0, 0.5)), _relaxing(1.0, 1.0 + _BURST, sum(_LEAVE))),
        # Da Fonseca & Zaatour, Journal of Futures Markets 34 (2014)
        (Hawkes(RateCurve.constant(50.0), 0.5, 2.0), _relaxing(1.0, 4.0, 1.0)),
    ],
    ids=str,
)
def test_counts_vary_as_theory_says(generator: Generator, dispersion: Callable[[float], float]) -> None:
    """Mean, dispersion and autocorrelation of counts in windows lie in intervals computed from theory, at 1 in 10,000."""
    windows, window_s = 2000, 5.0
    times_s = generator.until(windows * window_s, seed=11)
    counts, _ = np.histogram(times_s, bins=windows, range=(0.0, windows * window_s))
    expected = generator.mean_rate_per_s * window_s * windows
    one, two = dispersion(window_s), dispersion(2.0 * window_s)
    low, high = (float(distributions.chi2.ppf(each, windows - 1)) / (windows - 1) for each in (5e-5, 1.0 - 5e-5))
    # renewal counts reach their dispersion only in the long run, and end effects are of this order
    slack = 0.03

    assert abs(len(times_s) - expected) < 3.9 * (expected * dispersion(windows * window_s)) ** 0.5
    assert one * low * (1.0 - slack) < np.var(counts, ddof=1) / np.mean(counts) < one * high * (1.0 + slack)
    assert autocorrelation(counts.astype(np.float64)) == pytest.approx(two / one - 1.0, abs=3.9 * 1.2 / windows**0.5)


@pytest.mark.parametrize(
    "curve",
    [
        RateCurve.ramp(100.0, 900.0, 60.0),
        RateCurve.ramp(900.0, 0.0, 60.0),
        RateCurve.steps((10.0, 0.0, 400.0), (20.0, 5.0, 3.0)),
        RateCurve((0.0, 10.0, 25.0), (0.0, 300.0), (300.0, 100.0), repeats=True),
    ],
    ids=str,
)
def test_curves_are_kept(curve: RateCurve) -> None:
    """Seen from the integral of the rate, arrivals are Poisson: counts in a hundred windows pass the χ² test."""
    times_s = curve.until(100.0, seed=4)
    edges = np.linspace(0.0, 100.0, 101)
    counts, expected = np.histogram(times_s, edges)[0], np.diff(curve.masses(edges))
    known = expected > 5.0
    power = float(np.sum((counts - expected)[known] ** 2 / expected[known]))

    assert 1e-3 < distributions.chi2.sf(power, int(known.sum())) < 1.0 - 1e-3
    assert np.all(counts[expected == 0.0] == 0)
    assert distributions.kstest(np.diff(curve.masses(times_s)), "expon").pvalue > 1e-3


def test_a_curve_stretches_bursts() -> None:
    """With a cv, gaps measured in expected arrivals are Gamma gaps of that cv."""
    curve = RateCurve.steps((100.0, 900.0), (10.0, 3.0), cv=2.0)
    gaps = np.diff(curve.masses(curve.arrivals(requests=50_000, seed=2).arrivals_s))

    assert distributions.kstest(gaps, distributions.gamma(0.25, scale=4.0).cdf).pvalue > 1e-3


def test_weeks_have_their_rhythm() -> None:
    """Arrivals of two weeks in each hour are those of the rate, and the mean over the week is the one asked for."""
    week = Weekly(0.5, swing=0.8, weekend=0.4, peak_s=36_000.0)
    counts, edges = np.histogram(week.until(1_209_600.0, seed=6), bins=336, range=(0.0, 1_209_600.0))
    expected = week.rates(0.5 * (edges[1:] + edges[:-1])) * 3600.0
    power = float(np.sum((counts - expected) ** 2 / expected))

    assert 1e-3 < distributions.chi2.sf(power, 336) < 1.0 - 1e-3
    assert expected.sum() == pytest.approx(0.5 * 1_209_600.0, rel=1e-3)


def test_hawkes_on_a_curve_is_hawkes() -> None:
    """Its residuals by the time-rescaling theorem are independent and uniform, also where the base follows a curve."""
    from windtunnel.simulate.arrivals.burstiness import residuals

    process = Hawkes(RateCurve.steps((20.0, 0.0, 90.0), (10.0, 2.0, 3.0)), branching=0.7, decay_per_s=5.0)
    uniform = residuals(process, process.arrivals(requests=30_000, seed=8).arrivals_s)

    assert distributions.kstest(uniform, "uniform").pvalue > 1e-3
    assert abs(float(distributions.spearmanr(uniform[1:], uniform[:-1]).statistic)) < 4.0 / len(uniform) ** 0.5


def test_a_rate_that_falls_to_zero_ends_the_traffic() -> None:
    """What is filled after the last arrival is infinite; more requests than come are refused with their number."""
    curve, out = RateCurve.ramp(10.0, 0.0, 10.0), np.empty(200)
    curve.fill(curve.start(1), out)

    assert np.isfinite(out[0])
    assert np.isinf(out[-1])
    assert len(curve.arrivals(seconds=1000.0, seed=1)) == int(np.isfinite(out).sum())
    with pytest.raises(DataError, match="ends after"):
        curve.arrivals(requests=200, seed=1)


def test_seconds_are_a_prefix() -> None:
    """So many seconds of a stream are its requests before that time."""
    long, short = (Gamma(500.0, 2.0).arrivals(seconds=seconds, seed=9).arrivals_s for seconds in (300.0, 100.0))

    assert np.array_equal(long[long < 100.0], short)
    with pytest.raises(ConfigError, match="need exactly one"):
        Poisson(1.0).arrivals(requests=10, seconds=10.0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Poisson(0.0),
        lambda: Poisson(float("nan")),
        lambda: Gamma(1.0, cv=0.0),
        lambda: Weibull(1.0, cv=31.0),
        lambda: Mmpp((1.0,), (1.0,)),
        lambda: Mmpp((0.0, 0.0), (1.0, 1.0)),
        lambda: Mmpp((1.0, -1.0), (1.0, 1.0)),
        lambda: Mmpp((1.0, 2.0), (1.0, 0.0)),
        lambda: Hawkes(RateCurve.constant(1.0), 1.0, 1.0),
        lambda: Hawkes(RateCurve.constant(1.0), 0.5, 0.0),
        lambda: RateCurve.steps((0.0,), (1.0,)),
        lambda: RateCurve((0.0, 1.0, 1.0), (1.0, 1.0), (1.0, 1.0)),
        lambda: Weekly(1.0, swing=1.1),
        lambda: Weekly(1.0, peak_s=86_400.0),
    ],
)
def test_settings_that_make_no_traffic_are_refused(make: Callable[[], Generator]) -> None:
    """Rates, stays and shapes that no process can have are refused before anything is drawn."""
    with pytest.raises(ConfigError):
        make()
