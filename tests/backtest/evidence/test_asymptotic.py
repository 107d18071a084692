from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.signal import lfilter

from windtunnel.backtest.evidence import Asymptotic, apart
from windtunnel.stats import ConfidenceSequence

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LEVEL, REPEATS, DAYS, ROWS = 0.05, 400, 400, 24
SLACK = 3.0 * (LEVEL * (1.0 - LEVEL) / REPEATS) ** 0.5


@cache
def days_of_traffic(phi: float, seed: int) -> Floats:
    """Means of days of 24 rows without a difference, rows carrying over by φ, float64 [repeats, days]."""
    noise = np.random.default_rng(seed).normal(size=(REPEATS, (DAYS + 1) * ROWS))
    rows = np.asarray(lfilter([1.0], [1.0, -phi], noise, axis=-1))[:, ROWS:]
    days: Floats = rows.reshape(REPEATS, DAYS, ROWS).mean(axis=-1)
    return days


def ever_out(low: Floats, high: Floats, truth: Floats | float = 0.0) -> float:
    """The share of repetitions in which the bounds leave the truth out at any look."""
    return float(np.mean(((low > truth) | (high < truth)).any(axis=-1)))


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9])
def test_looking_every_day_keeps_the_level(phi: float) -> None:
    """Over 400 daily looks without a difference, bounds and claims are wrong no more often than the level says."""
    days, sequence = days_of_traffic(phi, 1), Asymptotic(LEVEL)

    assert ever_out(*sequence.bounds(days)) <= LEVEL + SLACK
    assert np.mean((sequence.below(days, 0.0) >= 1.0 / LEVEL).any(axis=-1)) <= LEVEL + SLACK
    assert np.mean((sequence.above(days, 0.0) >= 1.0 / LEVEL).any(axis=-1)) <= LEVEL + SLACK


@pytest.mark.parametrize("phi", [0.5, 0.8])
def test_days_that_carry_over_themselves_keep_the_level(phi: float) -> None:
    """Days that depend on the day before, looked at for 400 days, fool the stretched sequence no more often than meant."""
    noise = np.random.default_rng(6).normal(size=(REPEATS, DAYS + 50))
    days = np.asarray(lfilter([1.0], [1.0, -phi], noise, axis=-1))[:, 50:]

    assert ever_out(*Asymptotic(LEVEL).bounds(days)) <= LEVEL + SLACK
    assert ever_out(*Asymptotic(LEVEL, stretched=False).bounds(days)) > 0.3


def test_peeking_at_ordinary_intervals_is_fooled_one_time_in_three() -> None:
    """The same days looked at daily through ordinary 95% intervals show a difference that is not there in a third or more."""
    n, mean, deviation = ConfidenceSequence.running(days_of_traffic(0.0, 1))
    reach = 1.96 * deviation / np.sqrt(n)
    looked = slice(19, None)

    assert 0.28 < ever_out((mean - reach)[:, looked], (mean + reach)[:, looked]) < 0.5


def test_without_the_stretch_days_that_carry_over_break_the_level() -> None:
    """Days of 24 rows that carry over by 0.9 are alike by a quarter: taken for independent they fool too often."""
    days = days_of_traffic(0.9, 1)

    assert ever_out(*Asymptotic(LEVEL, stretched=False).bounds(days)) > LEVEL + SLACK


def test_a_mean_that_drifts_is_followed() -> None:
    """Where the days' own means rise and fall, the bounds keep their average so far (the Lyapunov version)."""
    own = 0.3 * np.sin(np.arange(DAYS) / 30.0)
    spread = 1.0 + 0.5 * np.cos(np.arange(DAYS) / 50.0)
    days = own + spread * np.random.default_rng(2).normal(size=(REPEATS, DAYS))
    truth = np.cumsum(own) / np.arange(1, DAYS + 1)

    assert ever_out(*Asymptotic(LEVEL).bounds(days), truth) <= LEVEL + SLACK


def test_a_difference_is_found_in_time() -> None:
    """At the number of days at which the interval is as wide as the difference, it is found in about half of the cases."""
    sequence, effect = Asymptotic(LEVEL, stretched=False), 0.35
    width = np.resize([1.0, -1.0], (1, DAYS))
    low, high = sequence.bounds(width)
    predicted = 2 * int(np.argmax(((high - low) / 2.0 <= effect)[0, 1::2])) + 2
    days = effect + np.random.default_rng(3).normal(size=(REPEATS, DAYS))
    found = np.argmax(sequence.bounds(days)[0] > 0.0, axis=-1) + 1

    assert 0.6 * predicted < np.median(found) < 1.3 * predicted


def test_evidence_is_its_mixture() -> None:
    """One side is the likelihood ratio mixed over a half normal of means; both sides are the noun's own e-value."""
    x = np.random.default_rng(4).normal(0.2, 1.0, size=60)
    sequence = Asymptotic(stretched=False)
    rho, deviation, total = sequence.sequence.rho, float(x.std()), float(x.sum())

    def ratio(mean: float) -> float:
        density = np.sqrt(2.0 / np.pi) / rho * np.exp(-(mean**2) / rho**2 / 2.0)
        return float(np.exp(mean * total / deviation - len(x) * mean**2 / 2.0) * density)

    assert pytest.approx(quad(ratio, 0.0, np.inf)[0], rel=1e-6) == sequence.above(x, 0.0)[-1]
    assert pytest.approx(ConfidenceSequence().e_value(x)) == apart(sequence, x)[-1]


def test_no_deviation_is_certain_or_nothing() -> None:
    """Differences that are all the same are evidence beyond doubt, unless they are all zero."""
    same, none = np.full(30, 0.1), np.zeros(30)

    assert Asymptotic().above(same, 0.0)[-1] > 1e300
    assert Asymptotic().below(same, 0.0)[-1] < 1e-6
    assert Asymptotic().above(none, 0.0)[-1] <= 1.0


@pytest.mark.parametrize("same", [0.1, 0.3, -0.7])
def test_differences_all_alike_say_nothing_of_what_they_are(same: float) -> None:
    """Against a mean of just what every block shows there is no evidence, whatever rounding makes of the sum."""
    values = np.full(60, same)

    assert (Asymptotic().above(values, same) <= 1.0).all()
    assert (Asymptotic().below(values, same) <= 1.0).all()
