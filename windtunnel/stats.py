"""The statistics behind every figure: intervals on quantiles, means, ratios and paired differences, fixed-n and anytime.

scipy supplies the distributions; what no library has (order-statistic intervals that refuse a sample too small, DeLong's
paired difference, confidence sequences) is written here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats as distributions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A figure and how sure it is.

    Args:
        value: the point estimate.
        low: lower end.
        high: upper end.
        samples: how many observations it was made of.
        confidence: the share of repetitions in which such an interval covers the truth.
    """

    value: float
    low: float
    high: float
    samples: int
    confidence: float

    def to_dict(self, name: str) -> dict[str, float]:
        """The interval as `name`, `name_low`, `name_high`.

        Example:
            >>> Interval(2.0, 1.0, 3.0, 9, 0.95).to_dict("p50_s")
            {'p50_s': 2.0, 'p50_s_low': 1.0, 'p50_s_high': 3.0}
        """
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}


@cache
def least_samples(quantile: float, confidence: float = 0.99, misses: int = 1) -> int:
    """How many independent observations bound a quantile, if so many of them may lie beyond the bound.

    The least n at which the chance that no more than `misses` of n observations exceed the true quantile is at most
    1 − `confidence`: MLPerf's early-stopping counts (LoadGen, `loadgen/early_stopping.cc`).

    Example:
        >>> least_samples(0.9, misses=0), least_samples(0.9), least_samples(0.99, misses=0), least_samples(0.99)
        (44, 64, 459, 662)
    """
    n = misses + 1
    while distributions.binom.cdf(misses, n, 1.0 - quantile) > 1.0 - confidence:
        n = math.ceil(n * 1.1)
    while distributions.binom.cdf(misses, n - 1, 1.0 - quantile) <= 1.0 - confidence:
        n -= 1
    return n


STRETCHES = 20
"""Into how many stretches a series is cut to see how much its neighbours are alike, at most."""


def cut_rounds(series: Floats, rounds: int) -> list[Floats]:
    """Cut a series that was measured in rounds of one length into stretches of whole rounds, `STRETCHES` of them or fewer.

    What differs from round to round must differ from stretch to stretch: a cut within a round would share it between two.

    Example:
        >>> [len(each) for each in cut_rounds(np.zeros(26 * 10), 26)] == [20] * 13
        True
    """
    whole = min(rounds, len(series) // 2)
    if whole < 1:
        return [series]
    each = math.ceil(whole / STRETCHES)
    edges = [round(len(series) * first / whole) for first in range(0, whole, each)]
    if whole % each:
        edges.pop()  # the last stretch takes the rounds that are left over
    return np.split(series, edges[1:])


def effective_samples(series: Floats, quantile: float, confidence: float = 0.95, *, rounds: int = STRETCHES) -> float:
    """How many independent observations tell as much of a quantile as a series whose neighbours are alike.

    A slow moment slows many calls in a row, so they are fewer observations than they seem. The share of a series at or
    below its quantile is a mean; its variance over equal stretches, against that of independent observations, is the
    design effect (Woodruff, JASA 1952; Francisco & Fuller, Annals of Statistics 1991) by which their number is divided.
    The doubt of a variance that is known from few stretches is added as Student's quantile against the normal one.

    Args:
        series: float64 `[n]`, in the order in which they were observed.
        quantile: between 0 and 1.
        confidence: of the interval that it is for.
        rounds: in how many rounds of one length the series was measured; see `cut_rounds`.

    Example:
        >>> calls = np.random.default_rng(0).normal(size=2000)
        >>> effective_samples(np.repeat(calls, 50), 0.5) < 3000 < effective_samples(np.tile(calls, 50), 0.5)
        True
    """
    pieces = cut_rounds(series, rounds)
    if len(pieces) < 6:
        return 0.0
    middle = float(np.quantile(series, quantile))
    variance = float(np.var([np.mean(piece <= middle) for piece in pieces], ddof=1))
    effect = max(1.0, variance * len(series) / len(pieces) / (quantile * (1.0 - quantile)))
    upper = 0.5 + confidence / 2.0
    doubt = float(distributions.t.ppf(upper, len(pieces) - 1) / distributions.norm.ppf(upper)) ** 2
    return len(series) / (effect * doubt)


def quantile_interval(
    series: Floats, quantile: float, confidence: float = 0.95, *, rounds: int = STRETCHES
) -> Interval | None:
    """The quantile of a series with its order-statistic interval, or None where the series cannot carry it.

    The number of independent observations below the true quantile is binomial, whatever the distribution, so a pair of
    order statistics covers it (David & Nagaraja, *Order Statistics*, 2003, section 7.1). The ranks are those of
    `effective_samples`, spread over the series; fewer of them than MLPerf's count (`least_samples`: 64 for p90, 662 for
    p99) carry no interval.

    Args:
        series: float64 `[n]`, in the order in which they were observed.
        quantile: between 0 and 1.
        confidence: of the interval.
        rounds: see `effective_samples`.

    Example:
        >>> x = np.random.default_rng(0).normal(size=2000)
        >>> interval = quantile_interval(x, 0.5)
        >>> interval.low < 0.0 < interval.high, quantile_interval(x[:500], 0.99)
        (True, None)
    """
    n = len(series)
    effective = int(effective_samples(series, quantile, confidence, rounds=rounds))
    if effective < least_samples(max(quantile, 1.0 - quantile)):
        return None
    tail = (1.0 - confidence) / 2.0
    low = (distributions.binom.ppf(tail, effective, quantile) - 1.0) / effective
    high = distributions.binom.ppf(1.0 - tail, effective, quantile) / effective
    if low < 0.0 or high >= 1.0:
        return None
    ordered = np.sort(series)
    ends = ordered[math.floor(low * n)], ordered[min(n - 1, math.ceil(high * n))]
    return Interval(float(np.quantile(ordered, quantile)), float(ends[0]), float(ends[1]), n, confidence)


def series_mean_interval(series: Floats, confidence: float = 0.95, *, rounds: int = STRETCHES) -> Interval:
    """The mean of a series whose neighbours are alike, with Student's interval over the means of equal stretches.

    Source: batch means, Law, *Simulation Modeling and Analysis*, section 9.5.3.

    Example:
        >>> interval = series_mean_interval(np.random.default_rng(0).normal(size=2000))
        >>> interval.low < 0.0 < interval.high
        True
    """
    means = mean_interval(np.array([np.mean(each) for each in cut_rounds(series, rounds)]), confidence)
    value, reach = float(np.mean(series)), means.high - means.value
    return Interval(value, value - reach, value + reach, len(series), confidence)


def mean_interval(samples: Floats, confidence: float = 0.95) -> Interval:
    """The mean of independent observations with Student's interval.

    Example:
        >>> mean_interval(np.array([1.0, 2.0, 3.0])).value
        2.0
    """
    n = len(samples)
    mean = float(np.mean(samples))
    if n < 2:
        return Interval(mean, -math.inf, math.inf, n, confidence)
    reach = float(distributions.t.ppf(0.5 + confidence / 2, n - 1)) * float(np.std(samples, ddof=1)) / math.sqrt(n)
    return Interval(mean, mean - reach, mean + reach, n, confidence)


def ratio_interval(numerator: Floats, denominator: Floats, confidence: float = 0.95) -> Interval:
    """The ratio of two paired positive measurements, from the mean of the logarithms of each pair's ratio.

    Pairing takes the machine's slow drift out; the logarithm makes `a/b` and `b/a` tell the same story.

    Example:
        >>> round(ratio_interval(np.array([2.0, 4.0, 6.0]), np.array([1.0, 2.0, 3.0])).value, 6)
        2.0
    """
    logs = mean_interval(np.log(numerator) - np.log(denominator), confidence)
    return Interval(math.exp(logs.value), math.exp(logs.low), math.exp(logs.high), logs.samples, confidence)


def unpaired_ratio_interval(numerator: Floats, denominator: Floats, confidence: float = 0.95) -> Interval:
    """The ratio of two positive measurements that were not taken side by side, by Welch's interval of the logarithms.

    Source: Welch, Biometrika 34 (1947), with the degrees of freedom of Satterthwaite.

    Example:
        >>> round(unpaired_ratio_interval(np.array([2.0, 2.0, 2.1]), np.array([1.0, 1.0, 1.1])).value, 2)
        1.97
    """
    a, b = np.log(numerator), np.log(denominator)
    ratio, samples = float(np.mean(a) - np.mean(b)), len(a) + len(b)
    if min(len(a), len(b)) < 2:
        return Interval(math.exp(ratio), 0.0, math.inf, samples, confidence)
    errors = [float(np.var(each, ddof=1)) / len(each) for each in (a, b)]
    if sum(errors) == 0.0:
        return Interval(math.exp(ratio), math.exp(ratio), math.exp(ratio), samples, confidence)
    freedom = sum(errors) ** 2 / (errors[0] ** 2 / (len(a) - 1) + errors[1] ** 2 / (len(b) - 1))
    reach = float(distributions.t.ppf(0.5 + confidence / 2, freedom)) * math.sqrt(sum(errors))
    return Interval(math.exp(ratio), math.exp(ratio - reach), math.exp(ratio + reach), samples, confidence)


def _midranks(values: Floats) -> Floats:
    return np.asarray(distributions.rankdata(values, method="average"), dtype=np.float64)


def auc_difference(label: NDArray[Any], a: Floats, b: Floats, confidence: float = 0.95) -> Interval:
    """ROC AUC of `b` minus that of `a` on the same rows, with DeLong's interval for correlated curves.

    Args:
        label: 0 or 1 a row.
        a: scores of the first model.
        b: scores of the second, on the same rows.
        confidence: of the interval.

    Source: DeLong et al., Biometrics 44 (1988); in O(n log n) by midranks: Sun & Xu, IEEE SPL 21 (2014).

    Example:
        >>> y = np.array([0, 0, 1, 1]); p = np.array([0.1, 0.4, 0.35, 0.8])
        >>> auc_difference(y, p, p).value
        0.0
    """
    positive = np.asarray(label).astype(bool)
    m, n = int(positive.sum()), int((~positive).sum())
    if m < 2 or n < 2:
        return Interval(math.nan, -math.inf, math.inf, m + n, confidence)
    aucs, by_positive, by_negative = [], [], []
    for score in (a, b):
        overall = _midranks(score)
        of_positive = (overall[positive] - _midranks(score[positive])) / n
        of_negative = 1.0 - (overall[~positive] - _midranks(score[~positive])) / m
        aucs.append(float(of_positive.mean()))
        by_positive.append(of_positive)
        by_negative.append(of_negative)
    difference = aucs[1] - aucs[0]
    variance = float(
        np.var(by_positive[1] - by_positive[0], ddof=1) / m + np.var(by_negative[1] - by_negative[0], ddof=1) / n
    )
    reach = float(distributions.norm.ppf(0.5 + confidence / 2)) * math.sqrt(variance)
    return Interval(difference, difference - reach, difference + reach, m + n, confidence)


@dataclass(frozen=True)
class ConfidenceSequence:
    """An asymptotic confidence sequence for a mean: valid however often one looks.

    `mean ± σ̂ √( 2(nρ²+1)/(nρ)² · ln(√(nρ²+1)/α) )`, Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas, *Time-uniform
    central limit theory and asymptotic confidence sequences* (arXiv 2103.06476), theorem 2.2; ρ is tuned to be tightest
    at `tightest_at` observations (there, eq. 9).

    Args:
        level: the chance that it ever leaves the mean, over all times.
        tightest_at: the number of observations at which it is narrowest.
        burn_in: below this many observations it says nothing: the interval is the whole line.

    The level is approached, not kept, where observations are few and skewed: looked at after each of 400 observations
    from 20 on, a level of 0.05 was left by 3.5% of normal and 9% of exponential series; by 3% of the exponential ones
    with a burn-in of 100, and by 4% of means of ten of them. Give it means of blocks.

    Example:
        >>> x = np.random.default_rng(0).normal(1.0, 1.0, size=400)
        >>> low, high = ConfidenceSequence().bounds(x)
        >>> bool(low[-1] < 1.0 < high[-1]), float(low[5])
        (True, -inf)
    """

    level: float = 0.05
    tightest_at: int = 100
    burn_in: int = 20

    @property
    def rho(self) -> float:
        """The mixture's scale."""
        log_level = -2.0 * math.log(self.level)
        return math.sqrt((log_level + math.log(1.0 + log_level)) / self.tightest_at)

    @staticmethod
    def running(values: Floats) -> tuple[Floats, Floats, Floats]:
        """How many values there are, their mean and their deviation, after each along the last axis."""
        n = np.arange(1, values.shape[-1] + 1, dtype=np.float64)
        # around the first value, so that a large offset does not cancel the variance away, and alike values have their own mean
        shifted = values - values[..., :1]
        moved = np.cumsum(shifted, axis=-1) / n
        variance = np.cumsum(shifted**2, axis=-1) / n - moved**2
        return n, values[..., :1] + moved, np.sqrt(np.maximum(variance, 0.0))

    def bounds(self, values: Floats) -> tuple[Floats, Floats]:
        """The bounds of the mean after each value along the last axis, in the order in which they came to be known."""
        if values.shape[-1] == 0:
            return np.empty(values.shape), np.empty(values.shape)
        n, mean, deviation = self.running(values)
        scale = n * self.rho**2 + 1.0
        reach = deviation * np.sqrt(2.0 * scale / (n * self.rho) ** 2 * np.log(np.sqrt(scale) / self.level))
        reach[..., n < self.burn_in] = np.inf
        return mean - reach, mean + reach

    def e_value(self, values: Floats) -> float:
        """The evidence against a mean of zero: the mixture likelihood ratio that the bounds are the inverse of.

        At least `1 / level` exactly when the latest bounds leave zero out.
        """
        if len(values) < self.burn_in:
            return 1.0
        n, mean, deviation = (float(each[-1]) for each in self.running(values))
        if deviation == 0.0:
            return 1.0 if mean == 0.0 else math.inf
        scale = n * self.rho**2 + 1.0
        exponent = (n * mean / deviation * self.rho) ** 2 / (2.0 * scale)
        return math.exp(min(exponent, 700.0)) / math.sqrt(scale)


def autocorrelation(values: Floats, lag: int = 1) -> float:
    """The autocorrelation at a lag: what is left of one observation in a later one (0 where it cannot be told)."""
    if len(values) <= lag + 1:
        return 0.0
    centred = values - values.mean()
    power = float(centred @ centred)
    return float(centred[lag:] @ centred[: len(centred) - lag]) / power if power > 0 else 0.0
