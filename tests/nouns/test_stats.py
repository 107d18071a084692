from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as distributions
from scipy.optimize import minimize_scalar
from scipy.signal import lfilter
from sklearn.metrics import roc_auc_score

from windtunnel.stats import (
    ConfidenceSequence,
    Interval,
    auc_difference,
    autocorrelation,
    effective_samples,
    least_samples,
    mean_interval,
    quantile_interval,
    ratio_interval,
    series_mean_interval,
    unpaired_ratio_interval,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def coverage(intervals: Iterable[Interval | None], truth: float) -> float:
    """The share of intervals that hold the truth."""
    held = [interval is not None and interval.low <= truth <= interval.high for interval in intervals]
    return float(np.mean(held))


def slack(confidence: float, repeats: int) -> float:
    """Four standard deviations of a share of so many repetitions."""
    return 4.0 * math.sqrt(confidence * (1 - confidence) / repeats)


def near(confidence: float, repeats: int, *, below: float = 0.0, above: float = 0.0) -> tuple[float, float]:
    """The range in which a share of so many repetitions must lie, and a little more where the method is approximate."""
    reach = slack(confidence, repeats)
    return confidence - reach - below, min(1.0, confidence + reach + above)


@pytest.mark.parametrize(
    ("quantile", "misses", "published"),
    [(0.9, 0, 44), (0.9, 1, 64), (0.99, 0, 459), (0.99, 1, 662)],
)
def test_early_stopping_counts(quantile: float, misses: int, published: int) -> None:
    """The least numbers of samples are MLPerf's, and one fewer would leave more than a hundredth to chance."""
    assert least_samples(quantile, misses=misses) == published
    assert distributions.binom.cdf(misses, published, 1.0 - quantile) <= 0.01
    assert distributions.binom.cdf(misses, published - 1, 1.0 - quantile) > 0.01


def _autoregressive(n: int, memory: float, rng: np.random.Generator) -> Floats:
    """A stationary normal series in which `memory` of each value is left in the next; deviation 1."""
    noise = rng.normal(size=n) * math.sqrt(1 - memory**2)
    return np.asarray(lfilter([1.0], [1.0, -memory], noise, zi=[memory * rng.normal()])[0], dtype=np.float64)


@pytest.mark.parametrize(
    ("n", "quantile", "memory"),
    [(300, 0.5, 0.0), (2000, 0.5, 0.8), (2000, 0.9, 0.8), (4000, 0.5, 0.9), (4000, 0.99, 0.0), (12_000, 0.99, 0.8)],
)
def test_quantile_coverage(n: int, quantile: float, memory: float) -> None:
    """The interval covers the true quantile at least about as often as claimed, whether or not calls remember the last."""
    rng = np.random.default_rng(12)
    truth = float(distributions.norm.ppf(quantile))
    intervals = [quantile_interval(_autoregressive(n, memory, rng), quantile) for _ in range(600)]

    assert coverage(intervals, truth) >= 0.95 - slack(0.95, 600)


def test_quantile_coverage_of_rounds() -> None:
    """Where each round has a level of its own, as sessions opened anew have, twenty rounds cover and ten are refused."""
    rng = np.random.default_rng(5)

    def series(rounds: int) -> Floats:
        return (rng.normal(size=(rounds, 1)) + 0.1 * rng.normal(size=(rounds, 100))).ravel()

    carried = [quantile_interval(series(20), 0.5, rounds=20) for _ in range(600)]
    refused = [quantile_interval(series(10), 0.5, rounds=10) for _ in range(20)]
    assert coverage(carried, 0.0) >= 0.95 - slack(0.95, 600)
    assert sum(each is None for each in refused) >= 15


def _naive(series: Floats, quantile: float) -> Interval:
    """Order statistics as if every observation were independent of the last."""
    ordered = np.sort(series)
    ranks = [int(distributions.binom.ppf(tail, len(series), quantile)) for tail in (0.025, 0.975)]
    return Interval(float(np.quantile(series, quantile)), ordered[ranks[0] - 1], ordered[ranks[1]], len(series), 0.95)


def test_single_observations_claim_too_much() -> None:
    """The reason for effective samples: plain order statistics claim far too much where there is memory."""
    rng = np.random.default_rng(12)
    intervals = [_naive(_autoregressive(2000, 0.8, rng), 0.5) for _ in range(300)]

    assert coverage(intervals, 0.0) < 0.75


def test_independent_observations_are_as_many_as_they_are() -> None:
    """Of independent observations nearly all count; of each repeated fifty times in a row about one in fifty."""
    calls = np.random.default_rng(3).normal(size=4000)

    assert 2000 < effective_samples(calls, 0.5) <= 4000
    assert effective_samples(np.repeat(calls, 50), 0.5) < 2.5 * 4000


@pytest.mark.parametrize(
    ("n", "quantile", "carried"),
    [(0, 0.5, False), (11, 0.5, False), (60, 0.5, True), (661, 0.99, False), (3000, 0.99, True), (6000, 0.999, False)],
)
def test_quantile_needs_samples(n: int, quantile: float, *, carried: bool) -> None:
    """No interval is given below MLPerf's counts."""
    series = np.random.default_rng(1).normal(size=n)

    assert carried == (quantile_interval(series, quantile) is not None)


@given(st.integers(6, 300), st.floats(0.05, 0.95), st.randoms(use_true_random=False))
def test_quantile_interval_is_of_the_sample(n: int, quantile: float, random: object) -> None:
    """The ends are observations, and the estimate lies between them."""
    values = np.arange(float(n))
    random.shuffle(values)  # type: ignore[attr-defined]  # hypothesis gives a random.Random
    interval = quantile_interval(values, quantile)

    if interval is not None:
        assert interval.low in values
        assert interval.high in values
        assert interval.low <= interval.value <= interval.high


@pytest.mark.parametrize("memory", [0.0, 0.8])
def test_series_mean_coverage(memory: float) -> None:
    """Means of stretches cover the mean of a series with memory about as often as claimed."""
    rng = np.random.default_rng(21)
    low, high = near(0.95, 600, below=0.02)

    assert low <= coverage((series_mean_interval(_autoregressive(2000, memory, rng)) for _ in range(600)), 0.0) <= high


def test_unpaired_ratio_coverage() -> None:
    """Welch's interval covers the ratio of two measurements of unlike spread and number, and is wider than a paired one."""
    rng = np.random.default_rng(22)

    def pair() -> tuple[Floats, Floats]:
        return 1.7 * rng.lognormal(0.0, 0.3, size=8), rng.lognormal(0.0, 0.05, size=20)

    low, high = near(0.95, 2000, below=0.01)
    assert low <= coverage((unpaired_ratio_interval(*pair()) for _ in range(2000)), 1.7) <= high


@pytest.mark.parametrize(("a", "b"), [([1.0], [2.0, 2.0]), ([1.0, 1.0], [2.0])])
def test_unpaired_ratio_of_one(a: list[float], b: list[float]) -> None:
    """One figure on a side says nothing about its error."""
    interval = unpaired_ratio_interval(np.array(a), np.array(b))

    assert (interval.value, interval.low, interval.high) == (0.5, 0.0, math.inf)


@pytest.mark.parametrize(("n", "confidence"), [(2, 0.95), (5, 0.95), (30, 0.8)])
def test_mean_coverage(n: int, confidence: float) -> None:
    """Student's interval covers the mean of normal observations exactly as often as it claims, even with two."""
    rng = np.random.default_rng(13)
    intervals = [mean_interval(rng.normal(3.0, 2.0, size=n), confidence) for _ in range(3000)]
    low, high = near(confidence, 3000)

    assert low <= coverage(intervals, 3.0) <= high


def test_mean_of_one() -> None:
    """One observation has a mean and says nothing about its error."""
    assert Interval(7.0, -math.inf, math.inf, 1, 0.95) == mean_interval(np.array([7.0]))


def test_ratio_coverage() -> None:
    """The interval covers the true ratio of paired measurements, however the machine drifts under both."""
    rng = np.random.default_rng(14)

    def pair() -> tuple[Floats, Floats]:
        drift = rng.lognormal(0.0, 1.0, size=12)
        return 1.7 * drift * rng.lognormal(0.0, 0.1, size=12), drift * rng.lognormal(0.0, 0.1, size=12)

    intervals = [ratio_interval(*pair()) for _ in range(3000)]
    low, high = near(0.95, 3000)

    assert low <= coverage(intervals, 1.7) <= high
    # unpaired, a drift of e would drown the ratio
    assert max(interval.high / interval.low for interval in intervals) < 1.7


@given(st.lists(st.tuples(st.floats(0.1, 10.0), st.floats(0.1, 10.0)), min_size=2, max_size=20))
def test_ratio_tells_one_story(pairs: list[tuple[float, float]]) -> None:
    """`b/a` is `a/b` turned over, ends included."""
    a, b = np.array(pairs).T
    forth, back = ratio_interval(a, b), ratio_interval(b, a)

    assert math.isclose(forth.value, 1 / back.value, rel_tol=1e-9)
    assert math.isclose(forth.low, 1 / back.high, rel_tol=1e-9)


def _scores(rng: np.random.Generator, n: int, *, round_to: int = 9) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Labels and two correlated scores; the second is the better one."""
    label = (rng.random(n) < 0.4).astype(np.int64)
    common = rng.normal(size=n)
    a = 0.8 * label + common + 0.5 * rng.normal(size=n)
    b = 1.2 * label + common + 0.5 * rng.normal(size=n)
    return label, np.round(a, round_to), np.round(b, round_to)


@pytest.mark.parametrize("round_to", [9, 0])
def test_auc_against_sklearn(round_to: int) -> None:
    """The difference is that of the areas as scikit-learn counts them, ties included."""
    label, a, b = _scores(np.random.default_rng(15), 300, round_to=round_to)
    expected = roc_auc_score(label, b) - roc_auc_score(label, a)

    assert math.isclose(expected, auc_difference(label, a, b).value, abs_tol=1e-12)


def _delong_by_hand(label: NDArray[np.int64], a: Floats, b: Floats) -> float:
    """DeLong's variance from every pair of a positive and a negative, as the paper writes it."""
    kernels = []
    for score in (a, b):
        positive, negative = score[label == 1], score[label == 0]
        kernels.append([[1.0 if p > q else 0.5 if p == q else 0.0 for q in negative] for p in positive])
    psi = np.array(kernels)
    s10, s01 = np.cov(psi.mean(axis=2)), np.cov(psi.mean(axis=1))
    total = s10 / psi.shape[1] + s01 / psi.shape[2]
    return float(total[0, 0] + total[1, 1] - 2 * total[0, 1])


@pytest.mark.parametrize("round_to", [9, 0])
def test_auc_against_delong_by_hand(round_to: int) -> None:
    """The fast variance is the one that comparing every pair gives."""
    label, a, b = _scores(np.random.default_rng(16), 40, round_to=round_to)
    interval = auc_difference(label, a, b)
    reach = 1.959963984540054 * math.sqrt(_delong_by_hand(label, a, b))

    assert math.isclose(interval.value - reach, interval.low, abs_tol=1e-12)
    assert math.isclose(interval.value + reach, interval.high, abs_tol=1e-12)


def test_auc_coverage() -> None:
    """The interval covers the true difference of correlated curves."""
    rng = np.random.default_rng(17)
    deviation = math.sqrt(2 * 1.25)
    truth = float(distributions.norm.cdf(1.2 / deviation) - distributions.norm.cdf(0.8 / deviation))
    intervals = [auc_difference(*_scores(rng, 250)) for _ in range(1200)]
    low, high = near(0.95, 1200, below=0.01, above=0.01)

    assert low <= coverage(intervals, truth) <= high


def test_auc_without_both_classes() -> None:
    """Where one class has fewer than two rows nothing is claimed."""
    interval = auc_difference(np.array([0, 0, 1]), np.arange(3.0), np.arange(3.0))

    assert (-math.inf, math.inf) == (interval.low, interval.high)


def _false_alarms(draw: str, sequence: ConfidenceSequence, repeats: int) -> float:
    """How often looking after every one of 400 observations ever leaves the true mean of zero out."""
    rng = np.random.default_rng(19)
    draws: dict[str, Callable[[], NDArray[np.floating[Any]]]] = {
        "normal": lambda: rng.normal(size=400),
        "coins": lambda: np.where(rng.random(400) < 0.5, 0.5, -0.5),
        "blocks": lambda: rng.exponential(size=(400, 10)).mean(axis=1) - 1.0,
        "skewed": lambda: rng.exponential(size=400) - 1.0,
    }
    alarms = 0
    for _ in range(repeats):
        low, high = sequence.bounds(np.asarray(draws[draw](), np.float64))
        alarms += bool(np.any((low > 0.0) | (high < 0.0)))
    return alarms / repeats


@pytest.mark.parametrize(
    ("draw", "level", "burn_in"),
    [("normal", 0.05, 20), ("coins", 0.05, 20), ("blocks", 0.05, 20), ("skewed", 0.05, 100), ("normal", 0.2, 20)],
)
def test_peeking_is_free(draw: str, level: float, burn_in: int) -> None:
    """Looked at after every observation, the sequence leaves the mean no oftener than its level; yet it can leave it."""
    alarms = _false_alarms(draw, ConfidenceSequence(level=level, burn_in=burn_in), 2000)

    assert alarms <= level + slack(level, 2000)
    assert alarms > 0.0


def test_peeking_at_skewed_series_is_not() -> None:
    """The documented limit: single skewed observations after a short burn-in break the level, though not by far."""
    alarms = _false_alarms("skewed", ConfidenceSequence(), 2000)

    assert 0.06 < alarms < 0.13


def test_fixed_intervals_peek_badly() -> None:
    """The reason for sequences: a 95% interval that is looked at 400 times is left by every third true mean."""
    rng = np.random.default_rng(19)
    values = rng.normal(size=(1000, 400))
    n = np.arange(1, 401)
    mean = values.cumsum(axis=1) / n
    deviation = np.sqrt(np.maximum((values**2).cumsum(axis=1) / n - mean**2, 0.0))
    left = np.any((np.abs(mean) > 1.96 * deviation / np.sqrt(n))[:, 20:], axis=1)

    assert left.mean() > 0.25


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60),
    st.sampled_from([0.01, 0.05, 0.2]),
    st.sampled_from([1, 5, 20]),
)
def test_e_value_agrees_with_the_bounds(values: list[float], level: float, burn_in: int) -> None:
    """The evidence reaches 1 / level exactly when the latest bounds leave zero out."""
    sequence = ConfidenceSequence(level=level, burn_in=burn_in)
    low, high = sequence.bounds(np.array(values))
    # at the boundary itself rounding decides
    on_the_edge = min(abs(low[-1]), abs(high[-1])) <= 1e-9 * max(1.0, float(np.abs(values).max()))
    excluded = bool(low[-1] > 0.0 or high[-1] < 0.0)

    assert on_the_edge or excluded == (sequence.e_value(np.array(values)) >= 1.0 / level)


@pytest.mark.parametrize("n", [20, 50, 400])
@pytest.mark.parametrize("level", [0.01, 0.05, 0.2])
@given(seed=st.integers(0, 2**32 - 1), sign=st.sampled_from([-1.0, 1.0]))
def test_e_value_at_the_edge(n: int, level: float, seed: int, sign: float) -> None:
    """A series moved to a thousandth beyond the edge reaches 1 / level, and a thousandth before it does not."""
    sequence = ConfidenceSequence(level=level)
    noise = np.random.default_rng(seed).normal(size=n)
    centred = noise - noise.mean()
    reach = float(sequence.bounds(centred)[1][-1])

    assert sequence.e_value(centred + sign * reach * 1.001) >= 1.0 / level
    assert sequence.e_value(centred + sign * reach * 0.999) < 1.0 / level


def test_e_value_mean_is_at_most_one() -> None:
    """Where the mean is zero the evidence is on average no more than one: a fair bet."""
    rng = np.random.default_rng(20)
    evidence = np.array([ConfidenceSequence().e_value(rng.normal(size=200)) for _ in range(4000)])

    assert float(np.minimum(evidence, 50.0).mean()) < 1.0 + 4 * float(np.minimum(evidence, 50.0).std()) / math.sqrt(
        4000
    )
    assert ConfidenceSequence().e_value(rng.normal(1.0, 1.0, size=200)) > 1e6


def test_nothing_is_said_in_the_burn_in() -> None:
    """Before the burn-in is over the interval is the whole line and the evidence one; after it neither."""
    values = np.random.default_rng(1).normal(9.0, 1.0, size=30)
    sequence = ConfidenceSequence(burn_in=25)
    low, high = sequence.bounds(values)

    assert np.all(np.isinf(low[:24]))
    assert np.all(np.isinf(high[:24]))
    assert np.all(np.isfinite(low[24:]) & np.isfinite(high[24:]))
    assert sequence.e_value(values[:24]) == 1.0
    assert sequence.e_value(values[:25]) > 20.0


def test_bounds_know_only_the_past() -> None:
    """The bounds after each value are those of the values so far, whatever comes later."""
    values = np.random.default_rng(2).normal(size=120)
    low, high = ConfidenceSequence().bounds(values)
    low_then, high_then = ConfidenceSequence().bounds(values[:70])

    assert low[:70].tolist() == low_then.tolist()
    assert high[:70].tolist() == high_then.tolist()


@given(st.floats(-1e9, 1e9))
def test_bounds_move_with_the_values(offset: float) -> None:
    """An offset a thousand million times the spread moves the interval and does not change its width."""
    values = np.random.default_rng(3).integers(0, 2, size=100).astype(np.float64)
    low, high = ConfidenceSequence().bounds(values)
    low_there, high_there = ConfidenceSequence().bounds(values + offset)

    assert np.allclose((high - low)[20:], (high_there - low_there)[20:], rtol=1e-4, atol=abs(offset) * 1e-14)


@pytest.mark.parametrize("level", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("tightest_at", [20, 100, 1000])
def test_tightest_where_asked(level: float, tightest_at: int) -> None:
    """The tuning is within four parts in a hundred of the one that a search for the narrowest interval finds there."""

    def width(rho: float) -> float:
        scale = tightest_at * rho**2 + 1.0
        return 2.0 * scale / (tightest_at * rho) ** 2 * math.log(math.sqrt(scale) / level)

    best = minimize_scalar(width, bounds=(1e-3, 3.0), method="bounded", options={"xatol": 1e-9}).x

    assert abs(ConfidenceSequence(level=level, tightest_at=tightest_at).rho / best - 1.0) < 0.04


def test_tightness_moves() -> None:
    """A sequence that is tightest early is wider late than one that is tightest late, and the other way round."""
    values = np.random.default_rng(4).normal(size=1000)
    early, late = (np.diff(ConfidenceSequence(tightest_at=n).bounds(values), axis=0)[0] for n in (30, 1000))

    assert early[29] < late[29]
    assert early[999] > late[999]


def test_sequence_without_values_or_spread() -> None:
    """No values have no bounds; values that are all alike leave any other mean out."""
    sequence = ConfidenceSequence()
    low, high = sequence.bounds(np.empty(0))
    assert len(low) == len(high) == 0

    assert sequence.e_value(np.zeros(50)) == 1.0
    assert math.isinf(sequence.e_value(np.ones(50)))


@given(st.integers(0, 10), st.integers(0, 2**32 - 1))
def test_autocorrelation_against_numpy(lag: int, seed: int) -> None:
    """The autocorrelation is numpy's full correlation of the centred series, over its power."""
    values = np.random.default_rng(seed).normal(size=60).cumsum()
    centred = values - values.mean()
    expected = np.correlate(centred, centred, mode="full")[59 + lag] / np.correlate(centred, centred)[0]

    assert math.isclose(expected, autocorrelation(values, lag), abs_tol=1e-12)


def test_autocorrelation_of_known_series() -> None:
    """It finds the memory that was put in, none where there is none, and none where it cannot be told."""
    rng = np.random.default_rng(5)

    assert abs(autocorrelation(_autoregressive(20_000, 0.7, rng)) - 0.7) < 0.03
    assert abs(autocorrelation(rng.normal(size=20_000))) < 0.03
    assert autocorrelation(np.ones(50)) == autocorrelation(np.array([1.0, 2.0])) == 0.0
