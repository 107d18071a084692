"""The statistics behind every figure: intervals on quantiles, means, ratios and paired differences, fixed-n and anytime.

scipy supplies the distributions; what no library has (order-statistic intervals that refuse a sample too small, DeLong's
paired difference, confidence sequences) is written here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
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
        samples: how many independent observations carry it.
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


def quantile_interval(samples: Floats, quantile: float, confidence: float = 0.95) -> Interval | None:
    """The quantile of a continuous distribution with its order-statistic interval, or None where the sample cannot carry it.

    The number of observations below the true quantile is binomial, whatever the distribution, so a pair of order
    statistics covers it exactly (David & Nagaraja, *Order Statistics*, 2003, section 7.1).

    Example:
        >>> quantile_interval(np.arange(1000.0), 0.5)
        Interval(value=499.5, low=468.0, high=531.0, samples=1000, confidence=0.95)
        >>> quantile_interval(np.arange(100.0), 0.99) is None
        True
    """
    n = len(samples)
    if n == 0:
        return None
    tail = (1.0 - confidence) / 2.0
    low_rank = int(distributions.binom.ppf(tail, n, quantile)) - 1
    high_rank = int(distributions.binom.ppf(1.0 - tail, n, quantile))
    if low_rank < 0 or high_rank >= n:
        return None
    ordered = np.sort(samples)
    value = float(np.quantile(ordered, quantile))
    return Interval(value, float(ordered[low_rank]), float(ordered[high_rank]), n, confidence)


def dependent_quantile_interval(
    series: Floats, quantile: float, confidence: float = 0.95, *, batches: int = 20
) -> Interval | None:
    """The quantile of a series whose neighbours are alike, by non-overlapping batches, or None where it is too short.

    Order statistics of single observations would claim too much where a slow moment slows many calls in a row. The
    series is cut into equal stretches; Student's interval of the stretches' own quantiles is put around the quantile
    of the whole. Each stretch needs at least two observations beyond the quantile, and six stretches are the least.

    Source: Law & Kelton, *Simulation Modeling and Analysis*, section 9.5.3 (batch means).

    Example:
        >>> x = np.random.default_rng(0).normal(size=2000)
        >>> interval = dependent_quantile_interval(x, 0.5)
        >>> interval.low < 0.0 < interval.high, dependent_quantile_interval(x[:50], 0.99)
        (True, None)
    """
    least = math.ceil(2.0 / min(quantile, 1.0 - quantile))
    stretches = min(batches, len(series) // least)
    if stretches < 6:
        return None
    own = mean_interval(
        np.array([np.quantile(each, quantile) for each in np.array_split(series, stretches)]), confidence
    )
    value, reach = float(np.quantile(series, quantile)), own.high - own.value
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

    def _running(self, values: Floats) -> tuple[Floats, Floats, Floats]:
        n = np.arange(1, len(values) + 1, dtype=np.float64)
        mean = np.cumsum(values) / n
        # around the first value, so that a large offset does not cancel the variance away
        shifted = values - values[0]
        variance = np.cumsum(shifted**2) / n - (np.cumsum(shifted) / n) ** 2
        return n, mean, np.sqrt(np.maximum(variance, 0.0))

    def bounds(self, values: Floats) -> tuple[Floats, Floats]:
        """The lower and upper bound of the mean after each value, in the order in which they came to be known."""
        if len(values) == 0:
            return np.empty(0), np.empty(0)
        n, mean, deviation = self._running(values)
        scale = n * self.rho**2 + 1.0
        reach = deviation * np.sqrt(2.0 * scale / (n * self.rho) ** 2 * np.log(np.sqrt(scale) / self.level))
        reach[n < self.burn_in] = np.inf
        return mean - reach, mean + reach

    def e_value(self, values: Floats) -> float:
        """The evidence against a mean of zero: the mixture likelihood ratio that the bounds are the inverse of.

        At least `1 / level` exactly when the latest bounds leave zero out.
        """
        if len(values) < self.burn_in:
            return 1.0
        n, mean, deviation = (float(each[-1]) for each in self._running(values))
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
